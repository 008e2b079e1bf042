"""Texts that are hard to cut into tokens, or to read and write."""

TEXTS = [
    "",
    " ",
    "\t",
    "A plain review, 7/10.",
    "Line<br /><br />breaks &amp; <b>tags</b>",
    "🙂 ok 👨‍👩‍👧 \U0001fae8",
    "nul\x00 bell\x07 next\x85line ls\u2028 ps\u2029 vt\x0b ff\x0c",
    "caf\u00e9 cafe\u0301 \u00c5ngstr\u00f6m \u0301 alone",
    "\u65e5\u672c\u8a9e \u6c49\u5b57 \ud55c\uad6d\uc5b4 \u0939\u093f\u0928\u094d\u0926\u0940",
    "\u0e44\u0e17\u0e22 \u03a3\u038a\u03a3\u03a5\u03a6\u039f\u03a3 \u03c3\u03b1\u03c2",
    "\u0130stanbul \u0131 Stra\u00dfe",
    "[SEP] and [MASK][CLS] [sep] [PAD] [UNK]",
    "x" * 100 + " " + "x" * 101 + " " + "\u00e9" * 100 + " " + "\u00e9" * 101,
    "soft\u00adhyphen zero\u200bwidth bom\ufeff private\ue000 \U000f0000 bad\ufffd",
    "don't\u2014stop\u2026 \u00abq\u00bb \u201cz\u201d $5 \u00a33 ~`^| _under_",
    "\u00a0nbsp\u3000wide \ufb01 \u00b2 \u2460 \u2126 \uff11\uff21",
    'quote " comma , back\\slash',
    "a fine film " * 8400,  # 100 kB
    "w" * 100_000,
]
