" Ghost text for Vim 9 over ALE's connection to the server, and what becomes of it.

let s:version = '0.1.0'
let s:type = 'nl2code'
let s:ghost = {}
let s:pending = {}
let s:asked = {}
let s:unanswered = {}
let s:generation = 0
let s:timer = -1
let s:dismissed = [0, 0]

" What ALE needs to start the server.

function! nl2code#Version() abort
    return s:version
endfunction

function! nl2code#Server() abort
    return get(g:, 'nl2code_server', 'nl2code-server')
endfunction

function! nl2code#Root(buffer) abort
    let l:root = ale#python#FindProjectRoot(a:buffer)
    return empty(l:root) ? expand('#' . a:buffer . ':p:h') : l:root
endfunction

" Without ghost text the server offers its suggestions in ALE's completion popup.
function! nl2code#Settings() abort
    let l:surface = nl2code#ShowsGhosts() ? 'inline' : 'popup'
    return extend({'surface': l:surface}, get(g:, 'nl2code_settings', {}))
endfunction

function! nl2code#ShowsGhosts() abort
    return has('patch-9.0.0185') && get(g:, 'nl2code_ghost', 1)
endfunction

function! nl2code#Attach() abort
    if !exists(':ALEInfo')
        call s:Tell('the plugin ALE is missing (Debian: vim-ale, and packadd ale)')
        return
    endif

    if !nl2code#ShowsGhosts()
        return
    endif

    let l:buffer = bufnr('')
    execute 'highlight default Nl2codeGhost cterm=italic gui=italic guifg=#808080 ctermfg=' . (&t_Co >= 256 ? 244 : 8)

    if empty(prop_type_get(s:type))
        call prop_type_add(s:type, {'highlight': 'Nl2codeGhost'})
    endif

    for [l:key, l:name] in [['<Tab>', 'accept'], ['<C-Right>', 'accept-word'],
    \                       ['<C-]>', 'dismiss'], ['<M-]>', 'next']]
        " Where the key has a mapping already, that stays: map <Plug>(nl2code-...) to another.
        if empty(maparg(l:key, 'i')) && get(g:, 'nl2code_keys', 1)
            execute printf('imap <buffer> <expr> %s nl2code#Visible() ? "\<Plug>(nl2code-%s)" : "%s"',
            \              l:key, l:name, l:key is# '<M-]>' ? '' : '\' . l:key)
        endif
    endfor

    augroup nl2code_buffer
        execute 'autocmd! * <buffer=' . l:buffer . '>'
        autocmd TextChangedI <buffer> call s:Changed()
        autocmd CursorMovedI <buffer> call s:Moved()
        autocmd InsertLeave,BufLeave,TextChangedP <buffer> call s:Drop()
    augroup END

    call s:Connect({id -> 0})
endfunction

" The connection.

function! s:Tell(text) abort
    echomsg 'nl2code: ' . a:text
endfunction

" Call a function with the connection's id once the server knows the buffer as it is.
function! s:Connect(Then) abort
    let l:linters = filter(ale#linter#GetAll(['python']), {_, one -> one.name is# 'nl2code'})

    if empty(l:linters)
        call s:Tell('ALE does not know the linter nl2code')
        return 0
    endif

    let l:buffer = bufnr('')
    return ale#lsp_linter#StartLSP(l:buffer, l:linters[0],
    \   {linter, details -> s:Connected(details.connection_id, l:buffer, a:Then)})
endfunction

function! s:Connected(id, buffer, Then) abort
    call ale#lsp#RegisterCallback(a:id, function('s:Received'))
    call ale#lsp#NotifyForChanges(a:id, a:buffer)
    call a:Then(a:id)
endfunction

function! s:Received(id, response) abort
    if has_key(a:response, 'id') && has_key(s:asked, a:response.id)
        let l:Then = remove(s:asked, a:response.id)
        call l:Then(a:response)
    elseif get(a:response, 'method', '') is# 'didChangeStatus' && !get(a:response.params, 'busy')
        call s:Settled()
    endif
endfunction

" The server has nothing more to do: ask once more if it could not answer in time.
function! s:Settled() abort
    let l:late = s:unanswered
    let s:unanswered = {}

    if !empty(l:late) && empty(s:ghost) && empty(s:pending) && s:IsPresent(l:late)
        call s:Request(2, [])
    endif
endfunction

function! s:IsPresent(asked) abort
    return mode() is# 'i' && bufnr('') == a:asked.buffer && b:changedtick == a:asked.tick
    \   && s:Cursor() == a:asked.cursor
endfunction

function! s:Ask(id, method, params, Then) abort
    let l:request = ale#lsp#Send(a:id, [0, a:method, a:params])

    if l:request > 0
        let s:asked[l:request] = a:Then
    endif

    return l:request
endfunction

function! s:Execute(command, arguments, ...) abort
    let l:Then = a:0 ? a:1 : {result -> 0}
    let l:params = {'command': a:command, 'arguments': a:arguments}
    call s:Connect({id -> s:Ask(id, 'workspace/executeCommand', l:params, {response -> s:Executed(response, l:Then)})})
endfunction

function! s:Executed(response, Then) abort
    if has_key(a:response, 'error')
        call s:Tell(a:response.error.message)
    elseif type(get(a:response, 'result')) is v:t_dict
        call a:Then(a:response.result)
    endif
endfunction

function! s:Document() abort
    return {'uri': ale#util#ToURI(expand('%:p'))}
endfunction

" Positions: Vim counts bytes from 1, the server UTF-16 units from 0.

function! s:Units(text) abort
    let l:units = 0

    for l:character in split(a:text, '\zs')
        let l:units += char2nr(l:character) > 0xffff ? 2 : 1
    endfor

    return l:units
endfunction

function! s:Bytes(line, units) abort
    let l:left = a:units
    let l:bytes = 0

    for l:character in split(getline(a:line), '\zs')
        if l:left <= 0
            break
        endif

        let l:left -= char2nr(l:character) > 0xffff ? 2 : 1
        let l:bytes += len(l:character)
    endfor

    return l:bytes
endfunction

function! s:Cursor() abort
    return [line('.'), col('.') - 1]
endfunction

function! s:Place(position) abort
    return [a:position.line + 1, s:Bytes(a:position.line + 1, a:position.character)]
endfunction

function! s:Between(start, finish) abort
    if a:start[0] == a:finish[0]
        return strpart(getline(a:start[0]), a:start[1], a:finish[1] - a:start[1])
    endif

    let l:lines = getline(a:start[0], a:finish[0])
    let l:lines[-1] = strpart(l:lines[-1], 0, a:finish[1])
    let l:lines[0] = strpart(l:lines[0], a:start[1])
    return join(l:lines, "\n")
endfunction

" Asking.

function! s:Changed() abort
    if s:Follow()
        return
    endif

    call s:Drop()
    let s:unanswered = {}

    if [bufnr(''), b:changedtick] != s:dismissed
        " Every key in its own request would send the whole file each time: that is how ALE tells changes.
        let s:timer = timer_start(get(g:, 'nl2code_delay', 150), {timer -> s:Request(2, [])})
    endif
endfunction

function! s:Moved() abort
    if !empty(s:ghost) && s:ghost.cursor != s:Cursor() && !s:Follow()
        call s:Drop()
    endif
endfunction

function! s:Drop() abort
    call timer_stop(s:timer)
    let s:generation += 1

    if !empty(s:pending)
        call ale#lsp#Send(s:pending.id, [1, '$/cancelRequest', {'id': s:pending.request}])
        let s:pending = {}
    endif

    call s:Erase()
endfunction

function! s:Erase() abort
    if !empty(s:ghost) && bufexists(s:ghost.buffer)
        call prop_remove({'type': s:type, 'all': 1, 'bufnr': s:ghost.buffer})
    endif

    let s:ghost = {}
endfunction

function! s:Request(trigger, known) abort
    let s:generation += 1
    let l:asked = {'generation': s:generation, 'buffer': bufnr(''), 'tick': b:changedtick,
    \              'cursor': s:Cursor(), 'known': a:known}
    let l:params = {
    \   'textDocument': s:Document(),
    \   'position': {'line': line('.') - 1, 'character': s:Units(strpart(getline('.'), 0, col('.') - 1))},
    \   'context': {'triggerKind': a:trigger},
    \}
    call s:Connect({id -> s:Send(id, l:params, l:asked)})
endfunction

function! s:Send(id, params, asked) abort
    if a:asked.generation == s:generation
        let l:request = s:Ask(a:id, 'textDocument/inlineCompletion', a:params,
        \                     {response -> s:Answered(a:id, response, a:asked)})
        let s:pending = {'id': a:id, 'request': l:request}
    endif
endfunction

function! s:Answered(id, response, asked) abort
    if a:asked.generation != s:generation
        return
    endif

    let s:pending = {}
    let l:result = get(a:response, 'result')
    let l:items = type(l:result) is v:t_dict ? get(l:result, 'items', []) : []

    if !s:IsPresent(a:asked)
        return
    endif

    if empty(l:items)
        let s:unanswered = a:asked
    endif

    let l:all = copy(a:asked.known)

    for l:item in l:items
        if empty(filter(copy(l:all), {_, one -> one.insertText is# l:item.insertText}))
            call add(l:all, l:item)
        endif
    endfor

    if !empty(a:asked.known) && len(l:all) == len(a:asked.known)
        call s:Tell('there is no other suggestion')
    elseif !empty(l:all)
        call s:Present(a:id, l:all, len(a:asked.known))
    endif
endfunction

" Showing.

function! s:Code(item) abort
    return substitute(a:item.insertText, '\r', '', 'g')
endfunction

function! s:Present(id, items, index) abort
    call s:Erase()
    let l:item = a:items[a:index]
    let l:start = s:Place(l:item.range.start)
    let l:finish = s:Place(l:item.range.end)
    let l:cursor = s:Cursor()
    let l:typed = s:Between(l:start, l:cursor)

    if stridx(s:Code(l:item), l:typed) != 0
        if s:Between(l:start, l:finish) =~# '\S'
            return
        endif

        let l:typed = ''
    endif

    let s:ghost = {'id': a:id, 'buffer': bufnr(''), 'items': a:items, 'index': a:index, 'start': l:start,
    \              'cursor': l:cursor, 'rest': [l:finish[0] - l:cursor[0], l:finish[1]], 'taken': len(l:typed)}
    let s:ghost.plain = l:finish == l:cursor
    call s:Draw()
    call ale#lsp#Send(a:id, [1, 'textDocument/didShowCompletion', {'item': l:item}])
endfunction

function! s:Draw() abort
    call prop_remove({'type': s:type, 'all': 1, 'bufnr': s:ghost.buffer})
    let l:lines = split(strpart(s:Code(s:ghost.items[s:ghost.index]), s:ghost.taken), "\n", 1)

    if len(s:ghost.items) > 1
        let l:lines[-1] .= printf('   (%d/%d)', s:ghost.index + 1, len(s:ghost.items))
    endif

    let [l:line, l:column] = s:ghost.cursor

    if !empty(l:lines[0])
        call prop_add(l:line, l:column + 1, {'type': s:type, 'text': l:lines[0]})
    endif

    for l:text in l:lines[1:]
        call prop_add(l:line, 0, {'type': s:type, 'text': empty(l:text) ? ' ' : l:text, 'text_align': 'below'})
    endfor
endfunction

" Keep the suggestion if what was typed is its beginning.
function! s:Follow() abort
    if empty(s:ghost) || s:ghost.buffer != bufnr('') || !s:ghost.plain
        return 0
    endif

    let l:cursor = s:Cursor()

    if l:cursor[0] < s:ghost.start[0] || (l:cursor[0] == s:ghost.start[0] && l:cursor[1] < s:ghost.start[1])
        return 0
    endif

    let l:typed = s:Between(s:ghost.start, l:cursor)
    let l:code = s:Code(s:ghost.items[s:ghost.index])

    if stridx(l:code, l:typed) != 0 || len(l:typed) >= len(l:code) || len(l:typed) < s:ghost.taken
        return 0
    endif

    let s:ghost.cursor = l:cursor
    let s:ghost.taken = len(l:typed)
    call s:Draw()
    return 1
endfunction

function! nl2code#Visible() abort
    return !empty(s:ghost) && s:ghost.buffer == bufnr('')
endfunction

" Taking.

function! s:Insert(start, finish, code) abort
    let &g:undolevels = &g:undolevels
    let l:lines = split(a:code, "\n", 1)
    let l:after = strpart(getline(a:finish[0]), a:finish[1])
    let l:lines[0] = strpart(getline(a:start[0]), 0, a:start[1]) . l:lines[0]
    let l:column = len(l:lines[-1]) + 1
    let l:lines[-1] .= l:after

    if a:finish[0] > a:start[0]
        call deletebufline('', a:start[0] + 1, a:finish[0])
    endif

    call setline(a:start[0], l:lines[0])
    call append(a:start[0], l:lines[1:])
    call cursor(a:start[0] + len(l:lines) - 1, l:column)
endfunction

function! nl2code#Accept() abort
    if !nl2code#Visible()
        return
    endif

    let l:ghost = s:ghost
    let l:item = l:ghost.items[l:ghost.index]
    call s:Drop()
    let l:finish = l:ghost.plain ? l:ghost.cursor : [l:ghost.cursor[0] + l:ghost.rest[0], l:ghost.rest[1]]
    call s:Insert(l:ghost.start, l:finish, s:Code(l:item))

    if has_key(l:item, 'command')
        call s:Execute(l:item.command.command, l:item.command.arguments, function('s:Accepted'))
    endif
endfunction

function! s:Accepted(result) abort
    if get(a:result, 'followUp', '') =~# '^not applied'
        call s:Tell('add the missing imports yourself: ALE does not let the server edit')
    endif
endfunction

function! nl2code#AcceptWord() abort
    if !nl2code#Visible()
        return
    endif

    let l:item = s:ghost.items[s:ghost.index]
    let l:word = matchstr(strpart(s:Code(l:item), s:ghost.taken), '^\_s*\%(\k\+\|\S\)')

    if !s:ghost.plain || empty(l:word) || s:ghost.taken + len(l:word) >= len(s:Code(l:item))
        call nl2code#Accept()
        return
    endif

    call s:Insert(s:ghost.cursor, s:ghost.cursor, l:word)
    call s:Follow()
    let l:length = s:Units(strpart(s:Code(l:item), 0, s:ghost.taken))
    call ale#lsp#Send(s:ghost.id, [1, 'textDocument/didPartiallyAcceptCompletion',
    \                              {'item': l:item, 'acceptedLength': l:length}])
endfunction

function! nl2code#Next() abort
    if !nl2code#Visible()
        return
    endif

    if len(s:ghost.items) == 1
        call s:Request(1, s:ghost.items)
    else
        call s:Present(s:ghost.id, s:ghost.items, (s:ghost.index + 1) % len(s:ghost.items))
    endif
endfunction

function! nl2code#Dismiss() abort
    if !nl2code#Visible()
        return
    endif

    let l:item = s:ghost.items[s:ghost.index]
    call s:Drop()
    let s:dismissed = [bufnr(''), b:changedtick]

    if has_key(l:item, 'command')
        call s:Execute('nl2code.reject', [l:item.command.arguments[0], 'dismissed'])
    endif
endfunction

" :Nl2code

function! nl2code#Actions(typed, line, position) abort
    return filter(['explain', 'status', 'trigger', 'next', 'dismiss'], {_, one -> stridx(one, a:typed) == 0})
endfunction

function! nl2code#Run(action) abort
    if a:action is# 'explain'
        call s:Execute('nl2code.explainLast', [], {result -> s:Show(result.text)})
    elseif a:action is# 'status'
        call s:Execute('nl2code.status', [], {result -> s:Tell(s:Status(result))})
    elseif a:action is# 'trigger'
        call s:Request(1, [])
    elseif a:action is# 'next'
        call nl2code#Next()
    elseif a:action is# 'dismiss'
        call nl2code#Dismiss()
    else
        call s:Tell('there is no action ' . a:action)
    endif
endfunction

function! s:Status(result) abort
    return join(filter([a:result.state, a:result.message, a:result.fix, a:result.endpoint], '!empty(v:val)'), ', ')
endfunction

function! s:Show(text) abort
    new
    setlocal buftype=nofile bufhidden=wipe noswapfile
    call setline(1, split(a:text, "\n"))
endfunction
