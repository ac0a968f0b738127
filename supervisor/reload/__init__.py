"""`--reload`: the target begins anew when its files change.

- The watcher: `reloader` starts the process that watches files and hears what changed; `others` knows the commands that
  have a reloader of their own.
- That process: `watching_files` tells of changes, `wanted` says which of them count.
"""
