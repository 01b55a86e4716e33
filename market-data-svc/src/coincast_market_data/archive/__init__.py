"""Every daily candle ever fetched: one Parquet file a coin, one writer."""
