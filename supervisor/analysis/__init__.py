"""What a profile says, mostly pure: folded stacks, the forms they are written in, and what two profiles differ in.

- Written: `folded` is the canonical form; `speedscope`, `pprof`, `flamegraph`, `markdown` with a `block` for programs.
- Read: `formats` recognises a file by its content and makes a `reading.Reading` of it, weights by function, in memory
  that doesn't grow with the file.
- Compared: `compare` stands on `matching` (renamed functions) and `noise` (what chance does); `comparison`,
  `comparison_page` and `differential` show it.
- `census` tells growth of types from chance; `quantiles` bounds a quantile by few runs.
"""
