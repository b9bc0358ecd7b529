-- Starts the server for Python files, shows its suggestions as ghost text, runs its commands.
local ghost = require("nl2code.ghost")

local M = {}

M.version = "0.1.0"

---@class nl2code.Options
local defaults = {
  cmd = { "nl2code-server" }, -- the server's command line
  filetypes = { "python" },
  root_markers = { "pyproject.toml", "setup.py", "setup.cfg", ".git" },
  automatic = true, -- ghost text while typing; false: only when `trigger` asks for it
  native = nil, -- Neovim's own inline completion; nil: where there is one (0.12)
  keys = { -- in insert mode; false leaves a key alone
    accept = "<Tab>", -- does what it did before where there is no ghost text
    accept_word = "<C-Right>",
    next = "<M-]>",
    dismiss = "<C-]>",
    trigger = "<M-\\>",
  },
  settings = {}, -- the server's settings that an editor may set, such as { comment = "docstring" }
}

M.options = defaults

---What the server said about itself last; nil before it has said anything.
---@type { busy: boolean, kind: string, message: string }?
M.state = nil

local function tell(text, level)
  vim.notify("nl2code: " .. text, level or vim.log.levels.INFO)
end

---Take options over the defaults; an unknown one is an error, so that a typing mistake is seen.
local function merged(options)
  vim.validate("options", options, "table", true)
  local known = { native = true }
  for name in pairs(defaults) do
    known[name] = true
  end
  for name in pairs(options or {}) do
    if not known[name] then
      error(("nl2code.setup: there is no option %q"):format(name), 0)
    end
  end
  local result = vim.tbl_deep_extend("force", defaults, options or {})
  vim.validate("cmd", result.cmd, "table")
  vim.validate("keys", result.keys, "table")
  for name in pairs(result.keys) do
    if defaults.keys[name] == nil then
      error(("nl2code.setup: there is no key %q"):format(name), 0)
    end
  end
  return result
end

---The server of a buffer, or nil.
---@param bufnr? integer
---@return vim.lsp.Client?
function M.client(bufnr)
  return vim.lsp.get_clients({ name = "nl2code", bufnr = bufnr or 0 })[1]
end

---What shows and takes suggestions: Neovim's own inline completion where there is one, else ours.
local function native()
  local own = vim.lsp.inline_completion
  if M.options.native == false then
    return nil
  end
  return own and own.enable and own.get and own or nil
end

M.uses_native = function()
  return native() ~= nil
end

local actions = {}

function actions.accept()
  local own = native()
  if own then
    return own.get() or false
  end
  return ghost.accept()
end

function actions.accept_word()
  return not native() and ghost.accept_word()
end

function actions.next()
  local own = native()
  if own then
    local step = own.select or own.jump
    if step then
      step({ count = 1 })
    end
    return step ~= nil
  end
  return ghost.next()
end

function actions.dismiss()
  return not native() and ghost.dismiss()
end

function actions.trigger()
  local own = native()
  if own then
    own.get()
    return true
  end
  local client = M.client()
  if client then
    ghost.request(client, 0, true)
  end
  return client ~= nil
end

---The mapping that a key had before ours: a function that does the same.
local function fallback(bufnr, key)
  local function find(maps)
    for _, map in ipairs(maps) do
      if vim.keycode(map.lhs) == vim.keycode(key) and map.desc ~= "nl2code" then
        return map
      end
    end
  end
  local ours = find(vim.api.nvim_buf_get_keymap(bufnr, "i"))
  return function()
    -- Looked for each time: other plugins set theirs when insert mode begins.
    local map = ours or find(vim.api.nvim_get_keymap("i"))
    local keys, mode = key, "in"
    if map then
      local run = map.callback or (map.expr == 1 and function()
        return vim.api.nvim_eval(map.rhs)
      end)
      keys = run and run() or (not run and map.rhs or nil)
      if run and map.expr ~= 1 then
        return
      end
      mode = map.noremap == 1 and "in" or "im"
      if map.expr == 1 and map.replace_keycodes ~= 1 then
        vim.api.nvim_feedkeys(keys or "", mode, false)
        return
      end
    end
    vim.api.nvim_feedkeys(vim.keycode(keys or ""), mode, false)
  end
end

local function map_keys(bufnr)
  for name, key in pairs(M.options.keys) do
    if key then
      local otherwise = fallback(bufnr, key)
      vim.keymap.set("i", key, function()
        if not actions[name]() then
          otherwise()
        end
      end, { buffer = bufnr, desc = "nl2code" })
    end
  end
end

local function attach(client, bufnr)
  map_keys(bufnr)
  local own = native()
  if own then
    own.enable(M.options.automatic, { bufnr = bufnr })
  else
    ghost.attach(client, bufnr, M.options.automatic)
  end
end

local function show(title, text)
  local lines = vim.split(text, "\n")
  vim.lsp.util.open_floating_preview(lines, "markdown", { border = "rounded", title = title, focus_id = "nl2code" })
end

---Run one of the server's commands for the cursor's line.
local function ask(command, arguments, handler)
  local client = M.client()
  if not client then
    tell("no server is running for this buffer; see :checkhealth nl2code", vim.log.levels.WARN)
    return
  end
  client:exec_cmd({ title = command, command = command, arguments = arguments }, { bufnr = 0 }, function(err, result)
    if err then
      tell(err.message, vim.log.levels.ERROR)
    elseif handler and result then
      handler(result)
    end
  end)
end

local function place()
  return { vim.uri_from_bufnr(0), vim.api.nvim_win_get_cursor(0)[1] - 1 }
end

local commands = {
  generate = function()
    ask("nl2code.generate", place())
  end,
  alternatives = function()
    ask("nl2code.alternatives", place())
  end,
  explain = function()
    ask("nl2code.explainLast", {}, function(result)
      show("nl2code", result.text)
    end)
  end,
  status = function()
    ask("nl2code.status", {}, function(result)
      local parts = vim.tbl_filter(function(part)
        return type(part) == "string" and part ~= ""
      end, { result.state, result.message, result.fix })
      tell(("%s (%s, model %s)"):format(table.concat(parts, ", "), result.endpoint, result.model))
    end)
  end,
  next = actions.next,
  dismiss = actions.dismiss,
}

---Run an action of :Nl2code.
---@param name string
function M.run(name)
  if not commands[name] then
    tell(("there is no action %q; there are %s"):format(name, table.concat(vim.tbl_keys(commands), ", ")), vim.log.levels.ERROR)
    return
  end
  commands[name]()
end

---One word for a status line; empty when all is well.
---@return string
function M.status()
  if not M.state or (M.state.kind == "Normal" and not M.state.busy) then
    return ""
  end
  return M.state.message
end

---Begin: the server starts with the next Python file, and for those that are open.
---@param options? nl2code.Options
function M.setup(options)
  if vim.fn.has("nvim-0.11") == 0 then
    tell("Neovim 0.11 or newer is needed", vim.log.levels.ERROR)
    return
  end
  M.options = merged(options)
  -- No link: the groups that would do have no colour of their own in terminals with 256 colours.
  vim.api.nvim_set_hl(0, "Nl2codeGhost", { fg = "#808080", ctermfg = 244, italic = true, cterm = { italic = true }, default = true })
  local capabilities = vim.lsp.protocol.make_client_capabilities()
  capabilities.textDocument.inlineCompletion = capabilities.textDocument.inlineCompletion
    or { dynamicRegistration = false }
  vim.lsp.config("nl2code", {
    cmd = M.options.cmd,
    filetypes = M.options.filetypes,
    root_markers = M.options.root_markers,
    capabilities = capabilities,
    settings = { nl2code = next(M.options.settings) and M.options.settings or vim.empty_dict() },
    handlers = {
      didChangeStatus = function(_, state, context)
        M.state = state
        if not state.busy then
          ghost.settled(context.client_id)
        end
        vim.schedule(vim.cmd.redrawstatus)
      end,
    },
    on_attach = attach,
  })
  vim.lsp.enable("nl2code")
  -- Plugin managers that load plugins themselves may not look into plugin/.
  vim.cmd.runtime("plugin/nl2code.lua")
end

return M
