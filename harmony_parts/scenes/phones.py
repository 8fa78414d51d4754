"""Phonemes as they sound and look, and the words of two languages.

Formants of English vowels are the men's means of Peterson and Barney 1952 (doi:10.1121/1.1906875),
rounded; all other numbers were chosen by ear and by eye.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class Phone:
    """A phoneme: how it sounds, and how the mouth looks.

    `formants` F1 to F3 in Hz of a man's voice; `seconds` its length at tempo 1; `voiced` the level
    of the voice, 0 to 1. Noise of `hiss` (level) has its middle at `pitch` and the standard
    deviation `spread` in Hz; a plosive (`burst`) is mute until its end, and then has the noise for
    a moment. The mouth opens by `opening`, 0 to 1, and is as wide as `width`: -1 is round, 1 wide.
    """

    formants: tuple[float, float, float]
    seconds: float
    voiced: float
    opening: float
    width: float
    hiss: float = 0.0
    pitch: float = 0.0
    spread: float = 1.0
    burst: bool = False


def _vowel(f1: float, f2: float, f3: float, opening: float, width: float) -> Phone:
    return Phone((f1, f2, f3), 0.15, 1.0, opening, width)


PHONES: dict[str, Phone] = {
    "a": _vowel(730, 1090, 2440, 1.0, 0.1),
    "ae": _vowel(660, 1720, 2410, 0.85, 0.5),
    "uh": _vowel(640, 1190, 2390, 0.6, 0.0),
    "e": _vowel(530, 1840, 2480, 0.6, 0.4),
    "ih": _vowel(390, 1990, 2550, 0.4, 0.4),
    "i": _vowel(270, 2290, 3010, 0.32, 0.8),
    "u": _vowel(300, 870, 2240, 0.28, -0.9),
    "o": _vowel(520, 840, 2410, 0.6, -0.7),
    "er": _vowel(490, 1350, 1690, 0.4, -0.2),
    "yu": _vowel(270, 1850, 2200, 0.25, -0.9),
    "m": Phone((250, 1000, 2200), 0.08, 0.4, 0.0, 0.0),
    "n": Phone((250, 1700, 2600), 0.08, 0.4, 0.15, 0.2),
    "ng": Phone((250, 2200, 2700), 0.09, 0.35, 0.2, 0.1),
    "l": Phone((360, 1300, 2700), 0.07, 0.55, 0.25, 0.2),
    "r": Phone((420, 1300, 1600), 0.07, 0.55, 0.25, -0.5),
    "w": Phone((300, 610, 2200), 0.07, 0.5, 0.12, -1.0),
    "y": Phone((260, 2200, 3000), 0.06, 0.5, 0.22, 0.7),
    "v": Phone((280, 1100, 2300), 0.07, 0.35, 0.05, 0.2, 0.05, 3500, 2000),
    "z": Phone((280, 1500, 2600), 0.08, 0.3, 0.10, 0.5, 0.12, 5600, 1100),
    "dh": Phone((280, 1300, 2600), 0.05, 0.35, 0.12, 0.2, 0.04, 4500, 2000),
    "s": Phone((300, 1500, 2600), 0.11, 0.0, 0.10, 0.5, 0.20, 5600, 1100),
    "sh": Phone((300, 1800, 2500), 0.11, 0.0, 0.18, -0.6, 0.20, 3000, 900),
    "f": Phone((300, 1100, 2300), 0.10, 0.0, 0.05, 0.2, 0.08, 4000, 2200),
    "th": Phone((300, 1300, 2600), 0.09, 0.0, 0.12, 0.2, 0.06, 5000, 2000),
    "h": Phone((500, 1500, 2500), 0.07, 0.0, 0.45, 0.1, 0.10, 1600, 900),
    "p": Phone((300, 900, 2200), 0.09, 0.0, 0.0, 0.0, 0.22, 900, 700, True),
    "t": Phone((300, 1700, 2600), 0.09, 0.0, 0.12, 0.3, 0.25, 4200, 1200, True),
    "k": Phone((300, 1900, 2400), 0.09, 0.0, 0.25, 0.1, 0.25, 2000, 700, True),
    "b": Phone((250, 900, 2200), 0.07, 0.10, 0.0, 0.0, 0.12, 700, 500, True),
    "d": Phone((250, 1700, 2600), 0.07, 0.10, 0.12, 0.3, 0.14, 3600, 1200, True),
    "g": Phone((250, 1900, 2400), 0.07, 0.10, 0.25, 0.1, 0.14, 1800, 700, True),
}


@attrs.frozen
class Word:
    """A word: its `text`, its phonemes, and the tone (1 to 4) of each syllable of Mandarin.

    A phoneme that begins a syllable is marked with ".", so tones know where they apply.
    """

    text: str
    phones: tuple[str, ...]
    tones: tuple[int, ...] = ()


def _words(lines: str) -> tuple[Word, ...]:
    """A line a word: text, phonemes, and behind "|" its tones."""
    words = []
    for line in filter(None, map(str.strip, lines.splitlines())):
        spoken, _, tones = line.partition("|")
        text, *phones = spoken.split()
        words.append(Word(text, tuple(phones), tuple(map(int, tones.split()))))
    return tuple(words)


LANGUAGES: dict[str, tuple[Word, ...]] = {
    "English": _words("""
        hello h e l o u
        goodbye g u d b a i
        yes y e s
        no n o u
        please p l i z
        mama m a m a
        red r e d
        blue b l u
        green g r i n
        yellow y e l o u
        white w a i t
        one w uh n
        two t u
        three th r i
        four f o r
        five f a i v
        six s ih k s
        seven s e v uh n
        eight e ih t
        nine n a i n
        ten t e n
        moon m u n
        music m y u z ih k
        river r ih v er
        apple ae p uh l
        open o u p uh n
        fish f ih sh
        above uh b uh v
        """),
    "Mandarin": _words("""
        你好 .n i .h a o | 3 3
        谢谢 .sh i e .sh i e | 4 4
        再见 .z a i .d y e n | 4 4
        妈妈 .m a .m a | 1 1
        红 .h o ng | 2
        蓝 .l a n | 2
        白 .b a i | 2
        一 .y i | 1
        二 .a er | 4
        三 .s a n | 1
        四 .s er | 4
        五 .w u | 3
        六 .l y o u | 4
        七 .t sh i | 1
        八 .b a | 1
        九 .d y o u | 3
        十 .sh er | 2
        水 .sh w e i | 3
        鱼 .y yu | 2
        月亮 .y yu e .l y a ng | 4 4
        苹果 .p i ng .g w o | 2 3
        朋友 .p er ng .y o u | 2 3
        """),
}
# Semitones of each tone at the beginning, in the middle and at the end of its syllable.
TONES = {
    0: (0.5, 0.0, -0.5),
    1: (3.0, 3.0, 3.0),
    2: (-1.5, 0.0, 3.5),
    3: (-1.0, -4.0, -1.5),
    4: (4.0, 1.0, -4.0),
}
