"""The stage ``ground``: the rows of new tokens are trained inside a frozen model.

The way of one pair, module by module: `ground` checks the inputs, `pairs` reads the table, `train` runs the training,
`nll.task` gathers what it needs, `nll.encode` tokenises the pairs, `nll.corpus` divides the examples at the first new
token, `nll.batches` collates them, `nll.objective` computes hidden states, `nll.head_loss` turns them into the loss,
and `rows` holds the parameters that receive the gradient. `gti_cli.training.optimizer.adamw` makes the optimizer, whose
steps `gti_cli.training.trainer` takes. With ``--objective distil``, `distil` takes the place of `nll`.
"""
