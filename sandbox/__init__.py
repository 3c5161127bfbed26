"""A drawn world with known contents, to train and measure the studio's parts on."""
