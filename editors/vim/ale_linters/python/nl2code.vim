" nl2code's language server for ALE.

call ale#Set('python_nl2code_options', '')

function! ale_linters#python#nl2code#Command(buffer) abort
    return '%e --stdio' . ale#Pad(ale#Var(a:buffer, 'python_nl2code_options'))
endfunction

call ale#linter#Define('python', {
\   'name': 'nl2code',
\   'lsp': 'stdio',
\   'executable': {-> nl2code#Server()},
\   'command': function('ale_linters#python#nl2code#Command'),
\   'project_root': {buffer -> nl2code#Root(buffer)},
\   'initialization_options': {-> nl2code#Settings()},
\})
