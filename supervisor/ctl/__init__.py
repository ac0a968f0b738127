"""`guard ctl`: asking a running guard.

- Who asks: `client` finds the run and its socket, `wording` makes a request of words and text of an answer.
- The watcher: `door` is the socket, `server` hears who comes and answers them, `answering` passes what is asked in one
  life on to deciding, `documents` are what is told.
"""
