"""The command line ``optix``, also ``python -m optix_core``.

Exit status:

| status | meaning |
|---|---|
| 0 | done |
| 1 | the work failed: training, a check, a plugin in strict mode |
| 2 | wrong usage or configuration: unknown verb, option, name, environment or value |
| 128 + n | ended by signal n: 130 interrupted (Ctrl-C), 141 the reader of the output went away, 143 terminated |
"""
