"""`guard doctor`: what works on this machine, tried for real.

`examine` tries everything and shows what it found. `checks` are a function a capability, those of other languages in
`tools` and `runtimes`; `tryout` gives each a process to try on and a bound in time.
"""
