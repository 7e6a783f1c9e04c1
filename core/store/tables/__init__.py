"""Every table of the product.

Ids are integers that are never used twice, so a folder named after one never meets a stranger's files. Times
are seconds since the epoch (UTC), as `time.time()` gives them. A column changed here needs a migration beside
`migrations/versions/0001_first.py`; a test compares the two.
"""

from __future__ import annotations

from core.store.tables.base import Base as Base
from core.store.tables.comparing import Experiment as Experiment
from core.store.tables.comparing import Judgement as Judgement
from core.store.tables.comparing import Prediction as Prediction
from core.store.tables.comparing import Score as Score
from core.store.tables.comparing import Vote as Vote
from core.store.tables.data import Dataset as Dataset
from core.store.tables.data import Example as Example
from core.store.tables.documents import Chunk as Chunk
from core.store.tables.documents import Document as Document
from core.store.tables.documents import Index as Index
from core.store.tables.jobs import Job as Job
from core.store.tables.jobs import Metric as Metric
from core.store.tables.serving import ApiFile as ApiFile
from core.store.tables.serving import ApiKey as ApiKey
from core.store.tables.serving import FineTune as FineTune
from core.store.tables.serving import Withheld as Withheld
from core.store.tables.training import Adapter as Adapter
from core.store.tables.training import Sample as Sample
