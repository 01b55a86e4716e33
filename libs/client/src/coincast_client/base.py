"""The base of every reply: parsing that tolerates new fields, and conversion to tables."""

from __future__ import annotations

import html
import importlib
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

if TYPE_CHECKING:
    # Optional libraries: the methods that need them import them by name.
    import pandas
    import polars

_NOTEBOOK_ROWS = 50
# A day; the gateway sends an empty string for an unknown day, which becomes None.
Day = Annotated[date | None, BeforeValidator(lambda value: value or None)]


class Reply(BaseModel):
    """A reply of the gateway, or a part of one.

    Unknown fields, which a later gateway may add, are ignored, so that an old client keeps working. Replies
    with a list convert to tables with `to_pandas()` and `to_polars()`; notebooks show them as tables.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the reply as flat rows, one for each item of its list; a reply without a list is one row."""
        from coincast_client import tables  # noqa: PLC0415 - tables needs the schemas, which need this module

        return tables.rows_of(self)

    def to_pandas(self) -> pandas.DataFrame:
        """Return the rows as a pandas DataFrame; days and times become timestamps.

        Raises:
            ImportError: pandas is not installed.
        """
        library = importlib.import_module("pandas")
        frame: pandas.DataFrame = library.DataFrame(self.to_rows())
        for name in frame.columns:
            values = frame[name].dropna()
            if len(values) and all(type(value) is date for value in values):
                frame[name] = library.to_datetime(frame[name])
        return frame

    def to_polars(self) -> polars.DataFrame:
        """Return the rows as a polars DataFrame.

        Raises:
            ImportError: polars is not installed.
        """
        rows = self.to_rows()
        frame: polars.DataFrame = importlib.import_module("polars").DataFrame(rows, infer_schema_length=None)
        return frame

    def plot(self, **options: Any) -> Any:
        """Plot the reply with matplotlib and return the axes: histories as lines, forecasts as fan charts.

        Args:
            **options: Passed on to `matplotlib.pyplot.subplots`.

        Raises:
            ImportError: matplotlib is not installed.
            TypeError: This kind of reply cannot be plotted.
        """
        from coincast_client import plots  # noqa: PLC0415 - optional

        return plots.draw(self, **options)

    def _repr_html_(self) -> str:
        rows = self.to_rows()
        # Rows may lack columns of others, such as a model without a record.
        columns = list(dict.fromkeys(name for row in rows for name in row))
        head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_cell(row.get(name)))}</td>" for name in columns) + "</tr>"
            for row in rows[:_NOTEBOOK_ROWS]
        )
        more = f"<p>{len(rows) - _NOTEBOOK_ROWS} more rows</p>" if len(rows) > _NOTEBOOK_ROWS else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return "" if value is None else str(value)
