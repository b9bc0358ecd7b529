" Suggestions of nl2code in Python files, through ALE.
if exists('g:loaded_nl2code') || !has('vim9script') || has('nvim')
    finish
endif
let g:loaded_nl2code = 1

command! -nargs=1 -complete=customlist,nl2code#Actions Nl2code call nl2code#Run(<q-args>)

inoremap <silent> <Plug>(nl2code-accept) <Cmd>call nl2code#Accept()<CR>
inoremap <silent> <Plug>(nl2code-accept-word) <Cmd>call nl2code#AcceptWord()<CR>
inoremap <silent> <Plug>(nl2code-next) <Cmd>call nl2code#Next()<CR>
inoremap <silent> <Plug>(nl2code-dismiss) <Cmd>call nl2code#Dismiss()<CR>

augroup nl2code
    autocmd!
    autocmd FileType python call nl2code#Attach()
augroup END
