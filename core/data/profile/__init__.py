"""What a dataset is like, before anything is spent on it."""

from core.data.profile.answers import AnswerFormat as AnswerFormat
from core.data.profile.hint import Hint as Hint
from core.data.profile.hint import hint as hint
from core.data.profile.lengths import Lengths as Lengths
from core.data.profile.lengths import plain as plain
from core.data.profile.lengths import rendered as rendered
from core.data.profile.measure import Conflict as Conflict
from core.data.profile.measure import DuplicateCounts as DuplicateCounts
from core.data.profile.measure import Flag as Flag
from core.data.profile.measure import Profile as Profile
from core.data.profile.measure import profile as profile
