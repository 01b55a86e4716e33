"""The archive of all fetched candles: one Parquet file per coin, written by one process."""
