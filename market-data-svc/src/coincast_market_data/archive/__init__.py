"""Archive of every daily candle fetched: one Parquet file per coin, one writer."""
