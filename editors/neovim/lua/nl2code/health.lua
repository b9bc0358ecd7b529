-- :checkhealth nl2code
local M = {}

local function server_version(path)
  local ok, process = pcall(vim.system, { path, "--version" }, { text = true, timeout = 10000 })
  if not ok then
    return nil
  end
  local done = process:wait()
  return done.code == 0 and vim.trim(done.stdout):match("%S+$") or nil
end

function M.check()
  local health, plugin = vim.health, require("nl2code")
  health.start("nl2code")
  if vim.fn.has("nvim-0.11") == 0 then
    health.error("Neovim 0.11 or newer is needed")
    return
  end
  health.ok(("plugin %s, Neovim %s, %s ghost text"):format(plugin.version, vim.version(), plugin.uses_native() and "Neovim's own" or "its own"))

  local program = plugin.options.cmd[1]
  local path = vim.fn.exepath(program)
  if path == "" then
    health.error(("%s is not on PATH"):format(program), {
      "Install it: pip install 'nl2code[local]'",
      'Or give its full path: require("nl2code").setup({ cmd = { "/full/path/to/nl2code-server" } })',
    })
    return
  end
  local version = server_version(path)
  if not version then
    health.error(path .. " --version fails", { "Run it in a terminal to see why" })
  elseif version ~= plugin.version then
    health.warn(("server %s, plugin %s"):format(version, plugin.version), { "Run: nl2code setup neovim --write" })
  else
    health.ok(("server %s, %s"):format(version, path))
  end

  if not vim.lsp.is_enabled("nl2code") then
    health.warn("nothing is started", { 'Put require("nl2code").setup() into your init.lua' })
    return
  end
  local clients = vim.lsp.get_clients({ name = "nl2code" })
  if #clients == 0 then
    health.info("no server runs yet: it starts with the first Python file")
  end
  for _, client in ipairs(clients) do
    health.ok(("server runs for %d buffers, positions in %s"):format(#vim.tbl_keys(client.attached_buffers), client.offset_encoding))
  end
  if plugin.state and plugin.state.kind ~= "Normal" then
    health.warn(plugin.state.message, { "More: nl2code doctor" })
  end
end

return M
