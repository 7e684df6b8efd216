"""The fixed words and the style sheet of `report.html`."""

from __future__ import annotations

from gti_cli.diagnostics.verdict import COLLAPSED_UP_TO, CROWDED_UP_TO, LEAST_RSA, MOST_P

# By the stem of the picture's file: heading and caption.
PICTURES = {
    "spectrum": (
        "Singular values",
        "Left, the singular values of the new rows of every checkpoint on the same axes, with as many pretrained rows "
        "as a yardstick: a line that falls at once means rows that share one direction. Right, how fast their sum "
        "fills up; the mark is the effective rank.",
    ),
    "cosine": (
        "Pretrained and new tokens",
        "Cosine similarities among pretrained tokens (top left), new tokens (bottom right) and between the two. New "
        "tokens of one colour cannot be told apart; new tokens darker than the pretrained ones against them lie off "
        "the manifold.",
    ),
    "hierarchy": (
        "All new tokens by hierarchy",
        "Cosine similarities among all new tokens, level by level; within a level, codes with the same parent stand "
        "together, and alike codes side by side. Blocks along the diagonal are structure.",
    ),
    "rsa": (
        "Agreement with the codebooks",
        "Representational similarity: correlation between the cosines of the new rows and those of the codebook "
        "vectors, over all codes and within each level.",
    ),
    "trajectory": (
        "Along the training",
        "Every figure from checkpoint to checkpoint; from one start several trainings may branch. Last panel: what "
        "each checkpoint kept of the one before it, as debiased linear CKA (1: the same arrangement, 0: nothing; "
        "a start whose rows are one point has no arrangement to keep).",
    ),
}

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 0 auto; max-width: 1080px;
  padding: 1rem; }
h1 { font-size: 1.6rem; margin: .5rem 0; } h2 { font-size: 1.25rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #ccc; text-align: right; vertical-align: top; }
th:first-child, td:first-child, .words td, .words th { text-align: left; }
thead th { border-bottom: 2px solid #555; } td.word, tbody th { white-space: nowrap; }
td.word:last-child { font-weight: 600; }
.words td { min-width: 4ch; } .words td + td { min-width: 28ch; }
figure { margin: 1rem 0; overflow-x: auto; } figure img { max-width: 100%; min-width: 40rem; height: auto; }
figcaption { max-width: 70ch; }
p, li, dd { max-width: 70ch; } .verdict { border-left: 4px solid #0072B2; padding-left: .8rem; margin: .8rem 0;
  overflow-wrap: anywhere; }
mark { background: none; color: inherit; font-weight: 700; text-decoration: underline; }
dt { font-weight: 600; margin-top: .5rem; } dd { margin-left: 1rem; }
"""

GLOSSARY = f"""<h2>What the words mean</h2>
<dl>
<dt>effective rank</dt>
<dd>exp of the entropy of the normalised singular values (Roy &amp; Vetterli 2007) of the rows as they are: how many
directions the rows use. 1: one point or one line.</dd>
<dt>stable rank</dt>
<dd>Squared Frobenius norm over squared spectral norm: the same question, small singular values ignored.</dd>
<dt>RSA</dt>
<dd>Representational similarity analysis: correlation over all pairs of codes between the cosine of their rows and the
cosine of their codebook vectors. p is from a permutation test that moves codes within their level; intervals are
bootstrapped over codes. Centred: within a level, its mean row taken off both sides first.</dd>
<dt>parent</dt>
<dd>The code of the level before that most often comes right before a code.</dd>
<dt>CKA</dt>
<dd>Centred kernel alignment of the rows of a checkpoint with those of the one that it was trained from: 1 for the same
arrangement up to rotation and scale, about 0 for an unrelated one.</dd>
<dt>word agreement</dt>
<dd>Share of the ten nearest pretrained words of a token (cosine, the mean pretrained row taken off) that occur in the
texts of the items that carry it; by chance: the same words looked up in the texts of other tokens.</dd>
<dt>collapsed, crowded</dt>
<dd>(effective rank - 1) is at most {100 * COLLAPSED_UP_TO:.0f} %, at most {100 * CROWDED_UP_TO:.0f} %, of what as many
pretrained rows have.</dd>
<dt>on the manifold</dt>
<dd>The median cosine of new rows to their nearest pretrained row is at least what 95 % of pretrained rows have among
themselves.</dd>
<dt>following the codebooks</dt>
<dd>In some level RSA r, the level's mean row taken off both sides, is at least {LEAST_RSA} with p at most {MOST_P}
over the number of levels.</dd>
<dt>grounded, partly grounded, structured</dt>
<dd>Neither collapsed nor crowded. Grounded: on the manifold and following the codebooks; partly: on the manifold, r
significant but smaller; structured: following the codebooks, off the manifold.</dd>
<dt>distinct, scattered</dt>
<dd>Neither collapsed nor crowded, not following the codebooks (or no codebooks to compare with). Distinct: on the
manifold; scattered: off it, also where r is significant but smaller.</dd>
</dl>"""
