"""Scores of several parts as REMI, through MidiTok: bars, positions in them, and notes with instrument and loudness.

REMI: Huang and Yang 2020, arXiv 2002.00212. MidiTok: Fradet et al. 2021, arXiv 2310.17202; it is an extra, and imported
when a tokenizer is made. Pieces are quantized here; MidiTok is shown one grid step as one beat, so that a step is the
same token in every metre. The metre itself stands in START, not among the tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgan_music.errors import PieceRefused, UsageError
from seqgan_music.notes import REST, Melodies, Note, Notes, Part, Piece
from seqgan_music.tokenizers.base import (
    RESOLUTION,
    Metre,
    OnGrid,
    check_steps_per_token,
    common_metres,
    cut_bars,
    line_melodies,
    melody_width,
    refuse_pitches,
)

if TYPE_CHECKING:
    from torch import Tensor

STEPS_PER_QUARTER = 4
DRUMS = -1  # MidiTok's number for the instrument of drums
LONGEST = 16  # quarter notes, of a note that a fitted vocabulary can say
MOST_STEPS_PER_BAR = 255  # MIDI's limit of a numerator, which MidiTok has too
MOST_VELOCITIES = 32
PIECES_TO_MEASURE = 256
KINDS = ("Bar", "Position", "Program", "Pitch", "PitchDrum", "Velocity", "Duration")
BAR, POSITION, PROGRAM, PITCH, DRUM, VELOCITY, DURATION = range(7)
NOTHING = 7  # END, PAD, START and what is no token


class RemiTokenizer(OnGrid):
    """REMI tokens of all parts in one row, by MidiTok; needs the extra `miditok`.

    Token ids: Bar, the positions in a bar, the instruments, the pitches, the drums, the velocities and the durations,
    then END, PAD and one START per metre. An instrument is said where it changes.

    Parts with the same instrument become one, of two notes with one pitch and onset in it one stays. Velocities are
    rounded to the nearest of few; a note longer than `max_duration` ends there.

    Parameters
    ----------
    steps_per_quarter : int
        Grid steps in a quarter note; 4 makes them sixteenths.
    low, high : int
        Lowest and highest MIDI pitch of the vocabulary.
    drums : sequence of int
        Lowest and highest drum, or nothing where there are none.
    programs : sequence of int
        General MIDI instruments of the vocabulary.
    velocities : int
        Velocities that are told apart, 1 to 32; with 1 they are no tokens, and all notes are equally loud.
    max_duration : int
        The longest note in grid steps.
    metres : sequence of (int, int)
        Metres that have a START.
    max_off_grid : float
        A piece with a larger share of its onsets off the grid is refused; onsets are rounded in any case.
    steps_per_token : float
        How far a token goes on average: `Melodies` have as many grid steps as T such tokens.

    Raises
    ------
    UsageError
        MidiTok is not installed, or an option is out of its range.
    """

    polyphonic = True

    def __init__(
        self,
        *,
        steps_per_quarter: int = STEPS_PER_QUARTER,
        low: int = 21,
        high: int = 108,
        drums: Sequence[int] = (),
        programs: Sequence[int] = (0,),
        velocities: int = 4,
        max_duration: int = 64,
        metres: Sequence[Sequence[int]] = ((4, 4),),
        max_off_grid: float = 0.2,
        steps_per_token: float = 1.0,
    ) -> None:
        super().__init__(metres, steps_per_quarter=steps_per_quarter, low=low, high=high, max_off_grid=max_off_grid)
        if len(drums) not in (0, 2) or (drums and not 0 <= drums[0] <= drums[1] <= 127):
            raise UsageError(f"tokenizer.drums must be a lowest and a highest drum, 0 to 127, or [], not {drums!r}")
        if not all(0 <= program <= 127 for program in programs) or not (programs or drums):
            raise UsageError(f"tokenizer.programs must be instruments, 0 to 127, not {programs!r}")
        if not 1 <= velocities <= MOST_VELOCITIES:
            raise UsageError(f"tokenizer.velocities must lie in 1..{MOST_VELOCITIES}, not {velocities!r}")
        if not 2 <= max_duration <= 1024:
            raise UsageError(f"tokenizer.max_duration must lie in 2..1024 steps, not {max_duration!r}")
        check_steps_per_token(steps_per_token)
        self.drums, self.velocities, self.max_duration = tuple(drums), velocities, max_duration
        self.programs = sorted(set(programs))
        self.steps_per_token = steps_per_token
        bars = [self._steps_per_bar(metre) for metre in self.metres]
        for metre, steps in zip(self.metres, bars, strict=True):
            if steps > MOST_STEPS_PER_BAR:
                raise UsageError(
                    f"tokenizer.steps_per_quarter={steps_per_quarter} makes {steps} steps of a bar of "
                    f"{metre[0]}/{metre[1]}; this tokenizer takes {MOST_STEPS_PER_BAR} at most"
                )
        instruments = [*self.programs, *([DRUMS] if drums else [])]
        self._remi = _remi(velocities, max_duration, bars, instruments)
        values: list[Iterable[Any]] = [
            ["None"],
            range(max(bars)),
            instruments,
            range(low, high + 1),
            range(drums[0], drums[1] + 1) if drums else (),
            [int(velocity) for velocity in self._remi.velocities] if velocities > 1 else (),
            range(1, max_duration + 1),
        ]
        self._kind = np.array([kind for kind, those in enumerate(values) for _ in those] + [NOTHING])
        self._value = np.array([0 if value == "None" else value for those in values for value in those] + [0])
        self._token = [
            f"{KINDS[kind]}_{value}{'.0.1' if kind == DURATION else ''}"
            for kind, those in enumerate(values)
            for value in those
        ]
        self._id = {token: number for number, token in enumerate(self._token)}
        self._frame(len(self._token))

    @classmethod
    def fit(cls, pieces: Iterable[Piece], **options: Any) -> RemiTokenizer:
        """Choose range, instruments, durations and metres that cover the pieces, unless the options name them.

        Where all notes are equally loud, velocities are no tokens.
        """
        pieces = list(pieces)
        steps_per_quarter = options.get("steps_per_quarter", STEPS_PER_QUARTER)
        pitches, drums = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        programs: set[int] = set()
        loudness: set[int] = set()
        longest = 0.0
        for piece in pieces:
            drummed = _drummed(piece)
            pitches = np.union1d(pitches, piece.notes.pitch[~drummed])
            drums = np.union1d(drums, piece.notes.pitch[drummed])
            programs |= {piece.parts[part].program for part in set(piece.notes.part[~drummed].tolist())}
            loudness |= set(piece.notes.table[:, 3].tolist())
            longest = max(longest, piece.notes.duration.max(initial=0) / piece.resolution)
        found: dict[str, Any] = {}
        if len(pitches):
            found |= {"low": int(pitches[0]), "high": int(pitches[-1])}
        if len(drums):
            found["drums"] = [int(drums[0]), int(drums[-1])]
        if programs or len(drums):
            found["programs"] = sorted(programs)
        if longest:
            found["max_duration"] = max(2, int(np.ceil(min(longest, LONGEST) * steps_per_quarter)))
        if len(loudness) == 1:
            found["velocities"] = 1
        if metres := common_metres(pieces, steps_per_quarter):
            found["metres"] = metres
        tokenizer = cls(**{**found, **options})
        steps = tokens = 0
        for piece in pieces[:: max(1, len(pieces) // PIECES_TO_MEASURE)]:
            try:
                tokens += len(tokenizer.encode(piece)) - 2
            except PieceRefused:
                continue
            steps += int(tokenizer._quantized(np.array(piece.end), piece))
        if steps:
            found["steps_per_token"] = min(100.0, max(0.05, round(steps / tokens, 2)))
        return cls(**{**found, **options})

    def to_dict(self) -> dict[str, Any]:
        """Options that build this tokenizer again."""
        return {
            **super().to_dict(),
            "drums": list(self.drums),
            "programs": self.programs,
            "velocities": self.velocities,
            "max_duration": self.max_duration,
            "steps_per_token": self.steps_per_token,
        }

    def encode(self, piece: Piece) -> list[int]:
        """Tokens of a piece: START, its bars with all parts, END.

        Raises
        ------
        PieceRefused
            No notes, a metre, a pitch, a drum or an instrument outside the vocabulary, or too many onsets off the grid.
        """
        from symusic import Note as SymusicNote
        from symusic import Score, TimeSignature, Track

        drummed = _drummed(piece)
        self._check(piece, ~drummed)
        if drummed.any() and not self.drums:
            raise PieceRefused("instrument outside the vocabulary", "drums")
        if drummed.any():
            refuse_pitches(piece.notes.pitch[drummed], *self.drums)
        instruments = np.array([DRUMS if part.drums else part.program for part in piece.parts])[piece.notes.part]
        onset = self._quantized(piece.notes.onset, piece)
        duration = np.maximum(1, self._quantized(piece.notes.end, piece) - onset).clip(max=self.max_duration)
        score = Score(1)
        score.time_signatures.append(TimeSignature(0, self._steps_per_bar(piece.metre), 4))
        for instrument in sorted(set(instruments.tolist()), key=self._order):
            if instrument not in self.programs and instrument != DRUMS:
                raise PieceRefused("instrument outside the vocabulary", f"General MIDI program {instrument}")
            own = instruments == instrument
            track = Track("", max(instrument, 0), instrument == DRUMS)
            track.notes = SymusicNote.from_numpy(
                time=onset[own].astype(np.int32),
                duration=duration[own].astype(np.int32),
                pitch=piece.notes.pitch[own].astype(np.int8),
                velocity=piece.notes.table[own, 3].astype(np.int8),
                ttype="tick",
            )
            score.tracks.append(track)
        said = self._remi.encode(score).tokens
        tokens = [self._id[token] for token in said if not token.startswith("TimeSig")]
        return [self.start_ids[piece.metre], *tokens, self.end_id]

    def decode(self, ids: Sequence[int]) -> Piece:
        """Read any ids as a piece of as many parts as instruments sound.

        A leading START gives the metre. END or PAD ends the reading. A note is a pitch that its velocity and duration
        follow; what is not of this form is passed over. Without an instrument it is a piano.
        """
        from miditok import TokSequence

        metre, tokens = self._opened(ids)
        known = [self._token[token] if 0 <= token < self.end_id else "PAD_None" for token in tokens.tolist()]
        score = self._remi.decode(TokSequence(tokens=[self._time_signature(metre), *known]))
        tracks = {DRUMS if track.is_drum else track.program: track.notes.numpy() for track in score.tracks}
        order = sorted((instrument for instrument, notes in tracks.items() if len(notes["time"])), key=self._order)
        tables = [np.zeros((0, 5), dtype=np.int64)]
        for number, instrument in enumerate(order):
            notes = tracks[instrument]
            onset, duration = notes["time"].astype(np.int64), notes["duration"].astype(np.int64)
            begin, end = (np.rint(at * (RESOLUTION / self.steps_per_quarter)) for at in (onset, onset + duration))
            velocity = notes["velocity"] if self.velocities > 1 else np.full(len(onset), Note(0, 0, 0).velocity)
            part = np.full(len(onset), number)
            tables.append(np.stack([begin, end - begin, notes["pitch"], velocity, part], axis=1).astype(np.int64))
        table = np.concatenate(tables)
        table = table[np.lexsort((table[:, 4], table[:, 2], table[:, 0]))]
        parts = tuple(Part(max(instrument, 0), instrument == DRUMS) for instrument in order)
        return Piece(Notes.from_table(table), RESOLUTION, metre=metre, parts=parts or (Part(),))

    def melodies(self, ids: Tensor, start: Tensor | None = None) -> Melodies:
        """Read the melody line of a batch, without a loop over sequences.

        The melody is the instrument with the highest mean pitch of those that have at least half as many notes as the
        fullest, drums never; of it the highest note of each onset, cut where the next one begins.

        Parameters
        ----------
        ids : Tensor (B, T), int
            Tokens without START.
        start : Tensor (B,), int, optional
            START of each row, which gives its metre; the first metre where it is missing.

        Returns
        -------
        Melodies
            On the ids' device, with S = T tokens of average reach; notes that lie beyond are in no step. A melody is as
            long as its row, other instruments and closing rests included.
        """
        import torch

        rows, width = ids.shape
        metre = self._metres(ids, start)
        inside = self._inside(ids)
        read = _Reading(self, torch.where(inside, ids, -1), metre)
        most = max(1, width // (3 if self.velocities > 1 else 2))  # every note takes so many tokens
        end = torch.where(read.note, read.time + read.duration, read.time * inside).amax(1) if width else inside.sum(1)
        line = read.note & (read.program == self._leading(read)[:, None])

        # In the order of onset, pitch and duration, the last of each onset stays.
        ordered = (read.time * 128 + read.pitch) * (self.max_duration + 1) + read.duration
        nowhere = torch.iinfo(ordered.dtype).max
        ordered = torch.where(line, ordered, nowhere).sort(1).values[:, :most]
        there = ordered < nowhere
        duration, ordered = ordered % (self.max_duration + 1), ordered // (self.max_duration + 1)
        onset = torch.where(there, ordered // 128, nowhere)
        following = torch.cat([onset[:, 1:], onset.new_full((rows, 1), nowhere)], 1)[:, : onset.shape[1]]
        kept = there & (following > onset)
        stop = onset + duration
        silent = kept & (stop < following) & (stop < end[:, None])

        # Silence to begin with, then every note and the silence after it.
        first = torch.zeros(rows, 1, dtype=onset.dtype, device=ids.device)
        opening = (onset[:, :1] > 0) if onset.shape[1] else first == 0
        pitch = torch.where(kept, ordered % 128, 0)
        return line_melodies(
            torch.cat([opening, torch.stack([kept, silent], 2).flatten(1)], 1),
            torch.cat([first + REST, torch.stack([pitch, torch.full_like(pitch, REST)], 2).flatten(1)], 1),
            torch.cat([first, torch.stack([onset, stop], 2).flatten(1)], 1),
            end,
            width=melody_width(width, self.steps_per_token),
            steps_per_quarter=self.steps_per_quarter,
            metre=metre,
        )

    def windows(self, ids: Sequence[int], length: int, *, every_bar: bool) -> np.ndarray:
        """Cut an encoded piece into windows that start with a Bar.

        A window holds T tokens, however long they last, and at least half of them from the piece; a piece shorter than
        that is one window.

        Parameters
        ----------
        ids : sequence of int
            What `encode` gave: START, tokens, END.
        length : int
            T, the tokens of a window.
        every_bar : bool
            A window from every bar line; otherwise windows follow each other without overlap, each from the first bar
            line at or after the end of the one before.

        Returns
        -------
        ndarray (n, T), int64
            Without START. Notes held into a window are struck again at its start, for as long as they are still held,
            and the instrument is said again; PAD follows END.
        """
        return cut_bars(list(ids[1:]), self._bars(ids), length, self.pad_id, every_bar=every_bar)

    def bar_tokens(self, start: int, bars: float) -> None:
        """None: a bar takes as many tokens as it has notes for."""

    def _bars(self, ids: Sequence[int]) -> Iterator[tuple[int, list[int], int]]:
        """What a window from each bar line opens with; see `cut_bars`."""
        import torch

        tokens = np.asarray(ids[1:], dtype=np.int64)
        metre = self._metre(ids[0])
        read = _Reading(self, torch.from_numpy(tokens)[None], torch.tensor([metre]))
        kind, program = read.kind[0].numpy(), read.program[0].numpy()
        notes = np.flatnonzero(read.note[0].numpy())
        onset, duration, pitch = (one[0].numpy()[notes] for one in (read.time, read.duration, read.pitch))
        rank = np.array([self._order(int(one)) for one in program[notes]], dtype=np.int64)
        spoken = np.flatnonzero((kind == PITCH) | (kind == DRUM) | (kind == PROGRAM))
        at_once = self._id["Position_0"]
        size = self._steps_per_bar(metre)
        for number, place in enumerate(np.flatnonzero(kind == BAR).tolist()):
            line, rest = number * size, place + 1
            opening, said = [int(tokens[place])], None
            held = np.flatnonzero((onset < line) & (onset + duration > line))
            if len(held):
                opening.append(at_once)
                rest += int(tokens[rest] == at_once)
            for one in held[np.lexsort((pitch[held], rank[held]))].tolist():
                note = int(notes[one])
                if said != program[note]:
                    said = int(program[note])
                    opening.append(self._id[f"Program_{said}"])
                opening += tokens[note : note + (2 if self.velocities > 1 else 1)].tolist()
                opening.append(self._id[f"Duration_{onset[one] + duration[one] - line}.0.1"])
            following = np.searchsorted(spoken, rest)
            if following < len(spoken) and kind[spoken[following]] != PROGRAM and program[spoken[following]] != said:
                until = int(spoken[following])
                opening += [*tokens[rest:until].tolist(), self._id[f"Program_{program[until]}"]]
                rest = until
            yield place, opening, rest

    def _leading(self, read: _Reading) -> Tensor:
        """The instrument of the melody (B,), or one that never sounds."""
        import torch

        # A row without an instrument is a piano's.
        instruments = torch.tensor(sorted({0, *self.programs}), device=read.program.device)
        own = read.note[:, None] & (read.program[:, None] == instruments[:, None])  # (B, instruments, T)
        count = own.sum(2)
        mean = (own * read.pitch[:, None]).sum(2) / count.float()
        candidates = (count > 0) & (2 * count >= count.amax(1, keepdim=True))
        best = torch.where(candidates, mean, -1.0).argmax(1)
        return torch.where(candidates.any(1), instruments[best], DRUMS - 1)

    def _time_signature(self, metre: Metre) -> str:
        return f"TimeSig_{self._steps_per_bar(metre)}/4"

    def _order(self, instrument: int) -> int:
        """Instruments by their number, drums last."""
        return instrument if instrument != DRUMS else 128


class _Reading:
    """Tokens (B, T) as MidiTok reads them: what each is, and at which of them a note begins.

    Parameters
    ----------
    tokenizer : RemiTokenizer
    tokens : Tensor (B, T), int
        Negative where nothing is to be read.
    metre : Tensor (B, 2), int

    Attributes
    ----------
    kind : Tensor (B, T)
        A number of `KINDS`, or `NOTHING`.
    note : Tensor (B, T), bool
    time, program : Tensor (B, T)
        In steps, and the instrument, at each token.
    pitch, duration : Tensor (B, T)
        Of notes; the duration in steps.
    """

    def __init__(self, tokenizer: RemiTokenizer, tokens: Tensor, metre: Tensor) -> None:
        import torch

        device, width = tokens.device, tokens.shape[1]
        known = torch.where((tokens >= 0) & (tokens < tokenizer.end_id), tokens, tokenizer.end_id).long()
        self.kind = torch.from_numpy(tokenizer._kind).to(device)[known]
        value = torch.from_numpy(tokenizer._value).to(device)[known]
        place = torch.arange(width, device=device).expand(tokens.shape)

        def latest(which: Tensor) -> tuple[Tensor, Tensor]:
            """Whether there was one of these tokens at or before each, and the value of the last."""
            last = torch.where(which, place, -1).cummax(1).values
            return last >= 0, value.gather(1, last.clamp(min=0)) if width else value

        bar, position = self.kind == BAR, self.kind == POSITION
        begun = bar.cumsum(1)
        # Positions before the first Bar are in a bar of their own.
        opened = (position & (begun == 0)).any(1, keepdim=True).long() if width else begun
        placed, step = latest(bar | position)  # the value of a Bar is 0
        size = 4 * tokenizer.steps_per_quarter * metre[:, :1] // metre[:, 1:]
        self.time = (begun - 1 + opened).clamp(min=0) * size + torch.where(placed, step, 0)
        changed, program = latest(self.kind == PROGRAM)
        self.program = torch.where(changed, program, 0)

        def later(values: Tensor, by: int, fill: int) -> Tensor:
            return torch.cat([values[:, by:], torch.full_like(values[:, :by], fill)], 1)

        self.note = (self.kind == PITCH) | (self.kind == DRUM)
        reach = 1
        if tokenizer.velocities > 1:
            self.note &= later(self.kind, 1, NOTHING) == VELOCITY
            reach = 2
        self.note &= later(self.kind, reach, NOTHING) == DURATION
        self.pitch, self.duration = value, later(value, reach, 0)


def _drummed(piece: Piece) -> np.ndarray:
    """Which notes (K,) are drums."""
    return np.array([part.drums for part in piece.parts], dtype=bool)[piece.notes.part]


def _remi(velocities: int, max_duration: int, bars: list[int], instruments: list[int]) -> Any:
    """MidiTok's tokenizer."""
    try:
        from miditok import REMI, TokenizerConfig
    except ImportError:
        raise UsageError(
            "tokenizer 'miditok:REMI' needs MidiTok, which is not installed: pip install miditok symusic"
        ) from None
    return REMI(
        TokenizerConfig(
            # MidiTok measures drums by this range too; which pitches there are is this vocabulary's concern.
            pitch_range=(0, 127),
            drums_pitch_range=(0, 127),
            beat_res={(0, max_duration): 1},
            num_velocities=velocities,
            use_velocities=velocities > 1,
            special_tokens=["PAD"],
            use_time_signatures=True,
            time_signature_range={4: sorted(set(bars))},
            use_programs=True,
            programs=instruments,
            program_changes=True,
            remove_duplicated_notes=True,
        )
    )
