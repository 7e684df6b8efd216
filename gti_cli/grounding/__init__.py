"""The stage ``ground``: the rows of new tokens are trained inside a frozen model.

The way of one pair, module by module: `ground` checks the inputs, `pairs` reads the table, `train` runs the training,
`nll.task` gathers what it needs, `nll.corpus` tokenises the pairs, `nll.batches` divides and collates the examples,
`nll.objective` computes hidden states, `nll.head_loss` turns them into the loss, and `rows` holds the parameters that
receive the gradient. With ``--objective distil``, `distil` takes the place of `nll`.
"""
