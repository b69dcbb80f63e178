"""Two pages that are left with a run: ``report.html``, and ``listen.html`` for a blind test.

Each is one file that needs no network: pictures, sound, script and style are in it. `excerpts` chooses and plays the
melodies, `curves` draws, `pages` gathers what the templates show.
"""

from __future__ import annotations

from seqgan_music.html_report.pages import Pages as Pages
from seqgan_music.html_report.pages import write as write
