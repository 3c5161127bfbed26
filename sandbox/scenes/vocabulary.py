"""Every word that a caption can use."""


def vocabulary() -> tuple[str, ...]:
    """All words of all captions in lower case, sorted."""
    return tuple(sorted(_WORDS.split()))


_WORDS = """
a above an and apple at background balloon banana beach beak bear beard before below big bird black
blond blue boat body bottle branch brown buildings by car cat centre circle clear cloudy cross cup
day desert diamond dog eight falling five flower flying forest four fox glasses gray green hair hat
head heart hills house in lake large left little long low man meadow moon mountains night of on one
orange pear petals pig pink purple rabbit rain rainy red right ring scarf sea shirt short sitting
six sky small snow snowfield snowy square star street sun sunset table tall the tree trees triangle
under vase wall wearing white wings with woman yellow
"""
