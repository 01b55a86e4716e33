"""The market table: pages of coins by market value."""
