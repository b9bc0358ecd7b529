;;; nl2code.el --- Code for comments that ask for it  -*- lexical-binding: t; -*-

;; Author: nl2code contributors
;; Version: 0.1.0
;; Package-Requires: ((emacs "28.1") (eglot "1.9"))
;; Keywords: convenience, languages, tools
;; URL: https://pypi.org/project/nl2code/
;; SPDX-License-Identifier: Apache-2.0

;;; Commentary:

;; Write a comment that asks for code, and the code appears below it as
;; ghost text.  It comes from the language server nl2code-server, through
;; eglot.
;;
;;     (require 'nl2code)
;;     (nl2code-setup)
;;
;; TAB takes a suggestion, M-f its next word, M-n and M-p show another one,
;; C-g takes it away and logs that you did not want it.  These keys are what
;; they were where there is no suggestion.
;;
;; Eglot runs one server for a buffer: this one takes the place of another.

;;; Code:

(require 'cl-lib)
(require 'eglot)
(require 'jsonrpc)
(require 'subr-x)

(defgroup nl2code nil
  "Code for comments that ask for it."
  :group 'tools
  :prefix "nl2code-")

(defcustom nl2code-server-command '("nl2code-server")
  "The server's program and its arguments."
  :type '(repeat string))

(defcustom nl2code-automatic t
  "Whether to ask for suggestions while you type."
  :type 'boolean)

(defcustom nl2code-idle-delay 0.15
  "Seconds without a key after which a suggestion is asked for."
  :type 'number)

(defcustom nl2code-settings nil
  "The server's settings that an editor may set, as a property list.
For example (:comment \"docstring\" :mode \"marker\")."
  :type '(plist :key-type symbol))

;; What is started and how is the user's own choice, whatever a folder says.
(dolist (variable '(nl2code-server-command nl2code-settings))
  (add-to-list 'ignored-local-variables variable))

(defface nl2code-ghost '((t :inherit shadow :slant italic))
  "Face of a suggestion that is not in the buffer yet.")

(defconst nl2code-version "0.1.0"
  "Version of this file; the server should have the same.")


;;; The server

(defclass nl2code-server (eglot-lsp-server) ()
  :documentation "The language server of nl2code.")

(cl-defmethod eglot-client-capabilities ((_server nl2code-server))
  "Add what this file does to what eglot does."
  (let ((capabilities (copy-sequence (cl-call-next-method))))
    (cl-flet ((add (section name value)
                (setq capabilities
                      (plist-put capabilities section
                                 (append (list name value)
                                         (plist-get capabilities section))))))
      (add :textDocument :inlineCompletion '(:dynamicRegistration :json-false))
      ;; Eglot asks such questions, but does not say so.
      (add :window :showMessage
           '(:messageActionItem (:additionalPropertiesSupport :json-false))))
    capabilities))

(cl-defmethod eglot-initialization-options ((_server nl2code-server))
  "Send the settings."
  (or nl2code-settings (cl-call-next-method)))

(defvar eglot-confirm-server-initiated-edits)
(defvar eglot-confirm-server-edits)

(cl-defmethod eglot-handle-request :around
  ((_server nl2code-server) (_method (eql workspace/applyEdit)) &rest _)
  "Apply an edit without a question: it belongs to what the user has taken."
  (let ((eglot-confirm-server-initiated-edits nil)
        (eglot-confirm-server-edits nil))
    (cl-call-next-method)))

(defvar nl2code--status ""
  "What the server is doing or what is wrong; empty when all is well.")

(cl-defmethod eglot-handle-notification
  ((_server nl2code-server) (_method (eql didChangeStatus))
   &key busy kind message &allow-other-keys)
  "Show MESSAGE while the server is BUSY or KIND is no normal one."
  (let ((calm (and (equal kind "Normal") (not (eq busy t)))))
    (setq nl2code--status (if calm "" (concat " " message)))
    (when calm (run-with-timer 0 nil #'nl2code--settled))
    (force-mode-line-update t)))

(defun nl2code--server ()
  "Return the server of this buffer if it is ours."
  (let ((server (and (eglot-managed-p) (eglot-current-server))))
    (and server (cl-typep server 'nl2code-server) server)))

(defun nl2code--flush ()
  "Send what was changed and is not sent yet."
  (when (fboundp 'eglot--signal-textDocument/didChange)
    (eglot--signal-textDocument/didChange)))

(defun nl2code--execute (server command arguments &optional then)
  "Let SERVER run COMMAND with the vector ARGUMENTS; call THEN with the result."
  (nl2code--flush)
  (jsonrpc-async-request
   server :workspace/executeCommand (list :command command :arguments arguments)
   :timeout 180
   :success-fn (or then #'ignore)
   :error-fn (cl-function
              (lambda (&key message &allow-other-keys)
                (message "nl2code: %s" message)))))


;;; Positions

(defun nl2code--units (server text)
  "Return the length of TEXT in the units that SERVER counts characters in."
  (pcase (plist-get (eglot--capabilities server) :positionEncoding)
    ("utf-8" (string-bytes text))
    ("utf-32" (length text))
    (_ (cl-loop for char across text sum (if (> char #xffff) 2 1)))))

(defun nl2code--position (server)
  "Return point as SERVER counts it."
  (save-restriction
    (widen)
    (list :line (1- (line-number-at-pos nil t))
          :character
          (nl2code--units server (buffer-substring-no-properties
                                  (line-beginning-position) (point))))))

(defun nl2code--point (server position)
  "Return the buffer position of POSITION, as SERVER counts."
  (save-excursion
    (save-restriction
      (widen)
      (goto-char (point-min))
      (forward-line (plist-get position :line))
      (let ((left (plist-get position :character)))
        (while (and (> left 0) (not (eolp)))
          (cl-decf left (nl2code--units server (string (char-after))))
          (forward-char)))
      (point))))

(defun nl2code--document ()
  "Return this buffer's TextDocumentIdentifier."
  (list :uri (if (fboundp 'eglot-path-to-uri)
                 (eglot-path-to-uri buffer-file-name)
               (with-no-warnings (eglot--path-to-uri buffer-file-name)))))


;;; Ghost text

(cl-defstruct nl2code--ghost
  "A suggestion that is shown: ITEMS of SERVER, the one at INDEX.
It takes the place of BEG to END, markers; so many characters of it as TAKEN
stand before point already."
  server items index beg end taken overlay)

(defvar-local nl2code--ghost nil "The suggestion that is shown, if any.")
(defvar-local nl2code--pending nil "Server and id of the request under way.")
(defvar-local nl2code--generation 0 "Which request is the last.")
(defvar-local nl2code--timer nil "Timer of the next request.")
(defvar-local nl2code--tick nil "The buffer's state when a command ended last.")
(defvar-local nl2code--dismissed nil "The buffer's state that is not asked about.")
(defvar-local nl2code--unanswered nil "The buffer's state without an answer yet.")

(defun nl2code--item (ghost)
  "Return the item of GHOST that is shown."
  (elt (nl2code--ghost-items ghost) (nl2code--ghost-index ghost)))

(defun nl2code--text (item)
  "Return the code of ITEM."
  (let ((text (plist-get item :insertText)))
    (string-replace "\r" "" (if (stringp text) text (plist-get text :value)))))

(defun nl2code--cancel ()
  "Take back the request under way."
  (cl-incf nl2code--generation)
  (when nl2code--timer
    (cancel-timer nl2code--timer)
    (setq nl2code--timer nil))
  (pcase-let ((`(,server . ,id) nl2code--pending))
    (setq nl2code--pending nil)
    (when (and id (jsonrpc-running-p server))
      (jsonrpc-notify server :$/cancelRequest (list :id id)))))

(defun nl2code--clear ()
  "Take the suggestion off the screen."
  (when nl2code--ghost
    (delete-overlay (nl2code--ghost-overlay nl2code--ghost))
    (setq nl2code--ghost nil)))

(defun nl2code--draw ()
  "Show what is left of the suggestion."
  (let* ((ghost nl2code--ghost)
         (items (nl2code--ghost-items ghost))
         (rest (substring (nl2code--text (nl2code--item ghost))
                          (nl2code--ghost-taken ghost)))
         (count (if (cdr items)
                    (format "   (%d/%d)" (1+ (nl2code--ghost-index ghost)) (length items))
                  ""))
         (string (propertize (concat rest count) 'face 'nl2code-ghost))
         (overlay (nl2code--ghost-overlay ghost)))
    ;; Keeps the cursor in front of the text.
    (put-text-property 0 1 'cursor t string)
    (move-overlay overlay (point) (point))
    (overlay-put overlay 'after-string string)))

(defun nl2code--present (server items index)
  "Show the one at INDEX of the ITEMS of SERVER, if it fits here."
  (let* ((item (elt items index))
         (range (plist-get item :range))
         (beg (if range (nl2code--point server (plist-get range :start)) (point)))
         (end (if range (nl2code--point server (plist-get range :end)) (point)))
         (typed (and (<= beg (point)) (buffer-substring-no-properties beg (point)))))
    (when (and typed (<= (point) end) (not (string-prefix-p typed (nl2code--text item))))
      ;; Blanks that it replaces are in nobody's way; anything else is.
      (setq typed (and (string-blank-p (buffer-substring-no-properties beg end)) "")))
    (when (and typed (<= (point) end))
      (nl2code--clear)
      (setq nl2code--ghost
            (make-nl2code--ghost
             :server server :items items :index index
             :beg (copy-marker beg) :end (copy-marker end t) :taken (length typed)
             :overlay (make-overlay (point) (point))))
      (nl2code--draw)
      (jsonrpc-notify server :textDocument/didShowCompletion (list :item item)))))

(defun nl2code--follow ()
  "Keep the suggestion if what was typed is its beginning; tell whether it is."
  (when-let* ((ghost nl2code--ghost)
              (text (nl2code--text (nl2code--item ghost)))
              (beg (nl2code--ghost-beg ghost)))
    (when (and (<= beg (point)) (= (point) (nl2code--ghost-end ghost)))
      (let ((typed (buffer-substring-no-properties beg (point))))
        (when (and (string-prefix-p typed text) (< (length typed) (length text)))
          (setf (nl2code--ghost-taken ghost) (length typed))
          (nl2code--draw)
          t)))))

(defun nl2code--request (&optional invoked known)
  "Ask for suggestions at point: INVOKED by a key, with the items KNOWN there."
  (nl2code--cancel)
  (when-let ((server (nl2code--server)))
    (nl2code--flush)
    (let ((buffer (current-buffer))
          (mine nl2code--generation)
          (tick (buffer-chars-modified-tick))
          (place (point)))
      (cl-flet ((current ()
                  (and (buffer-live-p buffer)
                       (with-current-buffer buffer
                         (and (= mine nl2code--generation)
                              (progn (setq nl2code--pending nil) t)
                              (= tick (buffer-chars-modified-tick))
                              (= place (point)))))))
        (let ((sent
               ;; The public function returns no id, and without one a request cannot be taken back.
               (jsonrpc--async-request-1
                server :textDocument/inlineCompletion
                (list :textDocument (nl2code--document)
                      :position (nl2code--position server)
                      :context (list :triggerKind (if invoked 1 2)))
                :timeout 90
                :success-fn
                (lambda (result)
                  (when (current)
                    (with-current-buffer buffer
                      (nl2code--answered server result known))))
                :error-fn #'ignore)))
          (setq nl2code--pending (cons server (car sent))))))))

(defun nl2code--answered (server result known)
  "Show the RESULT of SERVER, after the items KNOWN already."
  (let* ((found (append (if (vectorp result) result (plist-get result :items)) nil))
         (all (cl-remove-duplicates (append known found) :test #'equal
                                    :key #'nl2code--text :from-end t)))
    (cond ((null found) (setq nl2code--unanswered (buffer-chars-modified-tick)))
          ((and known (= (length all) (length known)))
           (message "nl2code: there is no other suggestion"))
          (t (nl2code--present server all (length known))))))

(defun nl2code--settled ()
  "Ask once more where the server could not answer in time."
  (when (and nl2code--unanswered (not nl2code--ghost) (not nl2code--pending)
             (bound-and-true-p nl2code-mode)
             (eql nl2code--unanswered (buffer-chars-modified-tick)))
    (setq nl2code--unanswered nil)
    (nl2code--request)))

(defun nl2code--after-command ()
  "See what the command has changed, and ask for a suggestion or drop one."
  (let* ((tick (buffer-chars-modified-tick))
         (changed (and nl2code--tick (/= tick nl2code--tick))))
    (setq nl2code--tick tick)
    (unless (nl2code--follow)
      (when (and nl2code--ghost (or changed (/= (point) (overlay-start (nl2code--ghost-overlay nl2code--ghost)))))
        (nl2code--clear))
      (when changed
        (nl2code--cancel)
        (setq nl2code--unanswered nil)
        (when (and nl2code-automatic (not (eql tick nl2code--dismissed)))
          (setq nl2code--timer
                (run-with-idle-timer nl2code-idle-delay nil #'nl2code--idle
                                     (current-buffer) tick)))))))

(defun nl2code--late ()
  "Ask about what was typed before the server was there."
  (when (and nl2code-automatic (eglot-managed-p) (buffer-modified-p)
             (not nl2code--ghost) (not nl2code--timer))
    (setq nl2code--timer
          (run-with-timer nl2code-idle-delay nil #'nl2code--idle
                          (current-buffer) (buffer-chars-modified-tick)))))

(defun nl2code--idle (buffer tick)
  "Ask for a suggestion in BUFFER if it is still in the state TICK."
  (when (and (eq buffer (current-buffer)) (= tick (buffer-chars-modified-tick)))
    (setq nl2code--timer nil)
    (nl2code--request)))


;;; Commands

(defun nl2code-accept ()
  "Put the suggestion in."
  (interactive)
  (when-let ((ghost nl2code--ghost))
    (let* ((item (nl2code--item ghost))
           (command (plist-get item :command)))
      (nl2code--cancel)
      (nl2code--clear)
      (undo-boundary)
      (delete-region (nl2code--ghost-beg ghost) (nl2code--ghost-end ghost))
      (goto-char (nl2code--ghost-beg ghost))
      (insert (nl2code--text item))
      (setq nl2code--tick (buffer-chars-modified-tick))
      (when command
        (nl2code--execute (nl2code--ghost-server ghost) (plist-get command :command)
                          (or (plist-get command :arguments) []))))))

(defun nl2code-accept-word ()
  "Put the next word of the suggestion in."
  (interactive)
  (when-let ((ghost nl2code--ghost))
    (let* ((item (nl2code--item ghost))
           (text (nl2code--text item))
           (start (nl2code--ghost-taken ghost))
           (finish (and (string-match "[ \t\n]*\\(?:\\(?:\\w\\|_\\)+\\|[^ \t\n]\\)" text start)
                        (match-end 0))))
      (if (or (null finish) (= finish (length text))
              (/= (point) (nl2code--ghost-end ghost)))
          (nl2code-accept)
        (insert (substring text start finish))
        (nl2code--follow)
        (setq nl2code--tick (buffer-chars-modified-tick))
        (let ((server (nl2code--ghost-server ghost)))
          (jsonrpc-notify
           server :textDocument/didPartiallyAcceptCompletion
           (list :item item
                 :acceptedLength (nl2code--units server (substring text 0 finish)))))))))

(defun nl2code-dismiss ()
  "Take the suggestion away because you do not want it."
  (interactive)
  (when-let ((ghost nl2code--ghost))
    (let* ((arguments (plist-get (plist-get (nl2code--item ghost) :command) :arguments)))
      (nl2code--clear)
      (setq nl2code--dismissed (buffer-chars-modified-tick))
      (when arguments
        (nl2code--execute (nl2code--ghost-server ghost) "nl2code.reject"
                          (vector (elt arguments 0) "dismissed"))))))

(defun nl2code-next (&optional count)
  "Show the next suggestion, or the one COUNT after it; ask if there is but one."
  (interactive "p")
  (when-let ((ghost nl2code--ghost))
    (let ((items (nl2code--ghost-items ghost)))
      (if (cdr items)
          (nl2code--present (nl2code--ghost-server ghost) items
                            (mod (+ (nl2code--ghost-index ghost) (or count 1)) (length items)))
        (nl2code--request t items)))))

(defun nl2code-previous (&optional count)
  "Show the suggestion before this one, or the one COUNT before it."
  (interactive "p")
  (nl2code-next (- (or count 1))))

(defun nl2code-trigger ()
  "Ask for a suggestion at point now."
  (interactive)
  (nl2code--connected)
  (nl2code--request t))

(defun nl2code--connected ()
  "Return the server of this buffer, or say that there is none."
  (or (nl2code--server)
      (user-error "The nl2code server does not run for this buffer; see M-x eglot")))

(defun nl2code--place ()
  "Return URI and line of point for the server's commands."
  (vector (plist-get (nl2code--document) :uri) (1- (line-number-at-pos nil t))))

(defun nl2code-generate ()
  "Put in the code for the comment at point."
  (interactive)
  (nl2code--execute (nl2code--connected) "nl2code.generate" (nl2code--place)))

(defun nl2code-alternatives ()
  "Make several suggestions for the comment at point, and choose."
  (interactive)
  (nl2code--execute (nl2code--connected) "nl2code.alternatives" (nl2code--place)))

(defun nl2code-explain ()
  "Tell the last decision from end to end."
  (interactive)
  (nl2code--execute
   (nl2code--connected) "nl2code.explainLast" []
   (lambda (result)
     (with-current-buffer (get-buffer-create "*nl2code*")
       (let ((inhibit-read-only t))
         (erase-buffer)
         (insert (plist-get result :text))
         (goto-char (point-min)))
       (special-mode)
       (display-buffer (current-buffer))))))

(defun nl2code-status ()
  "Tell how the server is."
  (interactive)
  (nl2code--execute
   (nl2code--connected) "nl2code.status" []
   (lambda (result)
     (message "nl2code: %s"
              (string-join (cl-remove-if (lambda (part) (member part '(nil "")))
                                         (mapcar (lambda (key) (plist-get result key))
                                                 '(:state :message :fix :endpoint)))
                           ", ")))))


;;; Modes

(defvar nl2code-ghost-map
  (let ((map (make-sparse-keymap)))
    (define-key map (kbd "TAB") #'nl2code-accept)
    (define-key map (kbd "<tab>") #'nl2code-accept)
    (define-key map (kbd "M-f") #'nl2code-accept-word)
    (define-key map (kbd "M-n") #'nl2code-next)
    (define-key map (kbd "M-p") #'nl2code-previous)
    (define-key map (kbd "C-g") #'nl2code-dismiss)
    map)
  "Keys while a suggestion is shown.")

(defvar nl2code--keymaps `((nl2code--ghost . ,nl2code-ghost-map))
  "The keys that go before those of other modes.")

(defvar nl2code-mode-map
  (let ((map (make-sparse-keymap)))
    (define-key map (kbd "C-c C-; g") #'nl2code-generate)
    (define-key map (kbd "C-c C-; a") #'nl2code-alternatives)
    (define-key map (kbd "C-c C-; e") #'nl2code-explain)
    (define-key map (kbd "C-c C-; s") #'nl2code-status)
    (define-key map (kbd "C-c C-; t") #'nl2code-trigger)
    map)
  "Keys of `nl2code-mode'.")

;;;###autoload
(define-minor-mode nl2code-mode
  "Show suggestions of nl2code as ghost text.
\\<nl2code-ghost-map>\\[nl2code-accept] takes one, \\[nl2code-accept-word] \
its next word, \\[nl2code-next] shows another,
\\[nl2code-dismiss] takes it away."
  :lighter (:eval (concat " nl2code" nl2code--status))
  (if nl2code-mode
      (progn
        (add-to-list 'emulation-mode-map-alists 'nl2code--keymaps)
        (setq nl2code--tick (buffer-chars-modified-tick))
        (add-hook 'post-command-hook #'nl2code--after-command nil t)
        (add-hook 'eglot-managed-mode-hook #'nl2code--late nil t)
        (add-hook 'kill-buffer-hook #'nl2code--cancel nil t))
    (remove-hook 'post-command-hook #'nl2code--after-command t)
    (remove-hook 'eglot-managed-mode-hook #'nl2code--late t)
    (remove-hook 'kill-buffer-hook #'nl2code--cancel t)
    (nl2code--cancel)
    (nl2code--clear)))

(defun nl2code--contact (&rest _)
  "Return what eglot needs to start the server."
  (cons 'nl2code-server nl2code-server-command))

(defun nl2code--begin ()
  "Start the server for a Python file, and show its suggestions."
  (when buffer-file-name
    (eglot-ensure)
    (nl2code-mode)))

;;;###autoload
(defun nl2code-setup ()
  "Use nl2code in Python files from now on."
  (add-to-list 'eglot-server-programs '((python-mode python-ts-mode) . nl2code--contact))
  (add-hook (if (boundp 'python-base-mode-hook) 'python-base-mode-hook 'python-mode-hook)
            #'nl2code--begin))

(provide 'nl2code)
;;; nl2code.el ends here
