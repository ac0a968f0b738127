"""What ended a run, how memory grew, who held it, and what to do next: from evidence on disk and what the kernel says.

`examine` gives the answer as a document for programs; `screen.text` shows one for people.
"""

from supervisor.postmortem.document import Reading, examine
from supervisor.postmortem.screen import sections, text

__all__ = ["Reading", "examine", "sections", "text"]
