"""What the settings of all metrics share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class MetricSettings(BaseModel):
    """Settings of a metric. Each field has a title and a description: the form on the page is drawn from them."""

    model_config = ConfigDict(extra="forbid", frozen=True)
