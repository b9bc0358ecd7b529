-- The :Nl2code command. Nothing is started here: that is what require("nl2code").setup() is for.
if vim.g.loaded_nl2code then
  return
end
vim.g.loaded_nl2code = true

local ACTIONS = { "generate", "alternatives", "explain", "status", "next", "dismiss" }

vim.api.nvim_create_user_command("Nl2code", function(command)
  require("nl2code").run(command.args)
end, {
  nargs = 1,
  desc = "Generate, compare and explain code for instruction comments",
  complete = function(typed)
    return vim.tbl_filter(function(action)
      return vim.startswith(action, typed)
    end, ACTIONS)
  end,
})
