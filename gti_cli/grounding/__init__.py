"""The stage ``ground``: the rows of new tokens are trained inside a frozen model.

The way of one pair, module by module: `ground` checks the inputs, `read_pairs` reads the table, `train` runs the
training, `nll.task` gathers what it needs, `nll.build_corpus` tokenises the pairs, `nll.corpus` divides the examples
at the first new token, `nll.batches` collates them, `nll.objective` computes hidden states, `nll.head_loss` turns them
into the loss, and `trainable_rows` holds the parameters that receive the gradient. `gti_cli.training.adamw.adamw`
makes the optimizer, whose steps `gti_cli.training.trainer` takes. With ``--objective distil``, `distil` takes the
place of `nll`.
"""
