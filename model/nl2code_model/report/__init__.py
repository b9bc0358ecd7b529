"""The page that shows how it goes: figures of the log, plots of them, tuning runs; as one file or live."""
