-- Ghost text for Neovim 0.11: asks at each change, shows the answer as virtual text, puts it in, tells what became of it.
-- The server waits for pauses; a request that the next key makes useless is taken back.
local api = vim.api
local M = {}

local AUTOMATIC, INVOKED = 2, 1
local namespace = api.nvim_create_namespace("nl2code")

---@class nl2code.Ghost
---@field client vim.lsp.Client
---@field bufnr integer
---@field items table[]
---@field index integer
---@field cursor integer[] row from 0 and byte
---@field start integer[] where the text goes
---@field tail integer[] lines and bytes from the cursor to the end of what it replaces
---@field taken integer bytes of it that are in the buffer already
---@field tick integer

---@type nl2code.Ghost?
local shown
---@type { client: vim.lsp.Client, id: integer }?
local pending
local generation = 0
---The text that was dismissed last, or answered with nothing while the server was busy, is not asked about by itself.
local dismissed_tick, unanswered

local function cursor_of(window)
  local row, column = unpack(api.nvim_win_get_cursor(window or 0))
  return { row - 1, column }
end

local function erase()
  if shown and api.nvim_buf_is_valid(shown.bufnr) then
    api.nvim_buf_clear_namespace(shown.bufnr, namespace, 0, -1)
  end
  shown = nil
end

local function cancel()
  generation = generation + 1
  if pending and not pending.client:is_stopped() then
    pending.client:cancel_request(pending.id)
  end
  pending = nil
end

---Byte position of an LSP position.
local function to_bytes(bufnr, position, encoding)
  local line = api.nvim_buf_get_lines(bufnr, position.line, position.line + 1, false)[1] or ""
  return { position.line, vim.str_byteindex(line, encoding, position.character, false) }
end

local function text_between(bufnr, from, to)
  return table.concat(api.nvim_buf_get_text(bufnr, from[1], from[2], to[1], to[2], {}), "\n")
end

local function code_of(item)
  local text = type(item.insertText) == "table" and item.insertText.value or item.insertText
  return (text:gsub("\r\n?", "\n"))
end

---Draw what is left of the present item.
local function draw()
  local ghost = assert(shown)
  api.nvim_buf_clear_namespace(ghost.bufnr, namespace, 0, -1)
  local rest = code_of(ghost.items[ghost.index]):sub(ghost.taken + 1)
  local lines = vim.split(rest, "\n", { plain = true })
  if #ghost.items > 1 then
    lines[#lines] = ("%s   (%d/%d)"):format(lines[#lines], ghost.index, #ghost.items)
  end
  local below = {}
  for number = 2, #lines do
    below[#below + 1] = { { lines[number] == "" and " " or lines[number], "Nl2codeGhost" } }
  end
  api.nvim_buf_set_extmark(ghost.bufnr, namespace, ghost.cursor[1], ghost.cursor[2], {
    virt_text = { { lines[1], "Nl2codeGhost" } },
    virt_text_pos = "inline",
    virt_lines = below,
    hl_mode = "combine",
  })
end

---How much of an item stands before the cursor already, in bytes; nil if something else does.
local function taken_of(bufnr, item, start, cursor)
  if cursor[1] < start[1] or (cursor[1] == start[1] and cursor[2] < start[2]) then
    return nil
  end
  local typed = text_between(bufnr, start, cursor)
  if vim.startswith(code_of(item), typed) then
    return #typed
  end
  return nil
end

local function notify(method, ghost, more)
  local params = vim.tbl_extend("error", { item = ghost.items[ghost.index] }, more or {})
  ghost.client:notify(method, params)
end

local function present(client, bufnr, items, index)
  local cursor, item = cursor_of(), items[index]
  local range = item.range or vim.lsp.util.make_range_params(0, client.offset_encoding).range
  local start = to_bytes(bufnr, range.start, client.offset_encoding)
  local finish = to_bytes(bufnr, range["end"], client.offset_encoding)
  local taken = taken_of(bufnr, item, start, cursor)
  if not taken and text_between(bufnr, start, finish):find("%S") then
    return false -- it replaces something that is not blank: virtual text cannot show that
  end
  shown = {
    client = client,
    bufnr = bufnr,
    items = items,
    index = index,
    cursor = cursor,
    start = start,
    tail = { finish[1] - cursor[1], finish[1] == cursor[1] and finish[2] - cursor[2] or finish[2] },
    taken = taken or 0,
    tick = api.nvim_buf_get_changedtick(bufnr),
  }
  if not taken then
    shown.cursor, shown.tail = start, { finish[1] - start[1], finish[1] == start[1] and finish[2] - start[2] or finish[2] }
  end
  draw()
  notify("textDocument/didShowCompletion", shown)
  return true
end

local function merged(old, new)
  local all, seen = {}, {}
  for _, item in ipairs(vim.list_extend(vim.list_slice(old), new)) do
    local code = code_of(item)
    if not seen[code] then
      seen[code] = true
      all[#all + 1] = item
    end
  end
  return all
end

---Ask for suggestions at the cursor.
---@param client vim.lsp.Client
---@param bufnr integer
---@param invoked? boolean by a key, not by typing
---@param known? table[] items that there are already, of which the last was shown
function M.request(client, bufnr, invoked, known)
  bufnr = bufnr == 0 and api.nvim_get_current_buf() or bufnr
  cancel()
  local mine, tick, cursor = generation, api.nvim_buf_get_changedtick(bufnr), cursor_of()
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  params.context = { triggerKind = invoked and INVOKED or AUTOMATIC }
  local sent, id = client:request("textDocument/inlineCompletion", params, function(err, result)
    if mine ~= generation then
      return
    end
    pending = nil
    local moved = not api.nvim_buf_is_valid(bufnr)
      or api.nvim_get_current_buf() ~= bufnr
      or api.nvim_buf_get_changedtick(bufnr) ~= tick
      or not vim.deep_equal(cursor_of(), cursor)
    if err or not result or moved then
      return
    end
    local items = result.items or result
    if #items == 0 then
      unanswered = { tick = tick, bufnr = bufnr }
    end
    local all = known and merged(known, items) or items
    if known and #all == #known then
      vim.notify("nl2code: there is no other suggestion", vim.log.levels.INFO)
    elseif #items > 0 and vim.fn.mode():sub(1, 1) == "i" then
      erase()
      present(client, bufnr, all, known and #known + 1 or 1)
    end
  end, bufnr)
  if sent then
    pending = { client = client, id = id }
  end
end

---The server has nothing more to do: ask once more if it could not answer in time.
function M.settled(client_id)
  local late = unanswered
  unanswered = nil
  local client = vim.lsp.get_client_by_id(client_id)
  if late and client and not shown and not pending and vim.fn.mode():sub(1, 1) == "i" then
    if api.nvim_get_current_buf() == late.bufnr and api.nvim_buf_get_changedtick(late.bufnr) == late.tick then
      M.request(client, late.bufnr)
    end
  end
end

---Keep the ghost text if what was typed is its beginning.
local function follow(bufnr)
  local ghost = shown
  if not ghost or ghost.bufnr ~= bufnr then
    return false
  end
  local cursor = cursor_of()
  if vim.deep_equal(cursor, ghost.cursor) and ghost.tick == api.nvim_buf_get_changedtick(bufnr) then
    return true
  end
  local taken = taken_of(bufnr, ghost.items[ghost.index], ghost.start, cursor)
  local grown = taken and taken > ghost.taken and taken < #code_of(ghost.items[ghost.index])
  if not grown or ghost.tail[1] ~= 0 or ghost.tail[2] ~= 0 then
    return false
  end
  ghost.cursor, ghost.taken, ghost.tick = cursor, taken, api.nvim_buf_get_changedtick(bufnr)
  draw()
  return true
end

local function insert(ghost, from, to, text)
  vim.cmd("let &g:undolevels = &g:undolevels") -- one step of its own for undo
  local lines = vim.split(text, "\n", { plain = true })
  api.nvim_buf_set_text(ghost.bufnr, from[1], from[2], to[1], to[2], lines)
  local row = from[1] + #lines - 1
  api.nvim_win_set_cursor(0, { row + 1, (#lines == 1 and from[2] or 0) + #lines[#lines] })
end

---Put the whole suggestion in. False if there is none.
function M.accept()
  local ghost = shown
  if not ghost or not follow(api.nvim_get_current_buf()) then
    return false
  end
  cancel()
  erase()
  local finish = { ghost.cursor[1] + ghost.tail[1], (ghost.tail[1] == 0 and ghost.cursor[2] or 0) + ghost.tail[2] }
  local item = ghost.items[ghost.index]
  insert(ghost, ghost.start, finish, code_of(item))
  if item.command then
    ghost.client:exec_cmd(item.command, { bufnr = ghost.bufnr })
  end
  return true
end

---Put the next word of the suggestion in. False if there is none.
function M.accept_word()
  local ghost = shown
  if not ghost or not follow(api.nvim_get_current_buf()) then
    return false
  end
  local code = code_of(ghost.items[ghost.index])
  local rest = code:sub(ghost.taken + 1)
  local word = rest:match("^%s*[%w_\128-\255]+") or rest:match("^%s*[^%w_%s\128-\255]+") or rest
  if word == rest or ghost.tail[1] ~= 0 or ghost.tail[2] ~= 0 then
    return M.accept()
  end
  insert(ghost, ghost.cursor, ghost.cursor, word)
  ghost.cursor, ghost.taken = cursor_of(), ghost.taken + #word
  ghost.tick = api.nvim_buf_get_changedtick(ghost.bufnr)
  draw()
  local length = vim.str_utfindex(code:sub(1, ghost.taken), ghost.client.offset_encoding)
  notify("textDocument/didPartiallyAcceptCompletion", ghost, { acceptedLength = length })
  return true
end

---Show the next suggestion; ask for others when there is but one. False if there is none.
function M.next()
  local ghost = shown
  if not ghost then
    return false
  end
  if #ghost.items == 1 then
    M.request(ghost.client, ghost.bufnr, true, ghost.items)
    return true
  end
  local index = ghost.index % #ghost.items + 1
  erase()
  return present(ghost.client, ghost.bufnr, ghost.items, index)
end

---Take the suggestion away because the user does not want it. False if there is none.
function M.dismiss()
  local ghost = shown
  if not ghost then
    return false
  end
  erase()
  dismissed_tick = api.nvim_buf_get_changedtick(ghost.bufnr)
  local command = ghost.items[ghost.index].command
  local id = command and command.arguments and command.arguments[1]
  if id then
    ghost.client:exec_cmd(
      { title = "Reject", command = "nl2code.reject", arguments = { id, "dismissed" } },
      { bufnr = ghost.bufnr }
    )
  end
  return true
end

---Whether there is ghost text in the current buffer.
function M.visible()
  return shown ~= nil and shown.bufnr == api.nvim_get_current_buf()
end

---Show ghost text in a buffer from now on.
---@param client vim.lsp.Client
---@param bufnr integer
---@param automatic boolean
function M.attach(client, bufnr, automatic)
  local group = api.nvim_create_augroup("nl2code." .. bufnr, { clear = true })
  local id = client.id
  local function on(events, callback)
    api.nvim_create_autocmd(events, { group = group, buffer = bufnr, callback = callback, desc = "nl2code" })
  end
  on({ "TextChangedI", "CursorMovedI", "InsertEnter" }, function(event)
    local live = vim.lsp.get_client_by_id(id)
    if not live or live:is_stopped() or follow(bufnr) then
      return
    end
    erase()
    local typed = event.event ~= "CursorMovedI"
    if typed or pending then
      cancel()
    end
    if typed and automatic and api.nvim_buf_get_changedtick(bufnr) ~= dismissed_tick then
      unanswered = nil
      M.request(live, bufnr)
    end
  end)
  on({ "InsertLeave", "BufLeave", "TextChangedP" }, function()
    cancel()
    erase()
  end)
  if automatic and vim.fn.mode():sub(1, 1) == "i" and api.nvim_get_current_buf() == bufnr then
    M.request(client, bufnr) -- the server came later than the typing
  end
  on("LspDetach", function(event)
    if event.data.client_id == id then
      pending = nil
      erase()
      api.nvim_del_augroup_by_id(group)
    end
  end)
end

return M
