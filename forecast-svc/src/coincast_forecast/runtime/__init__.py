"""Process-level settings: memory trimming and blocked imports."""
