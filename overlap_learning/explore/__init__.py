"""The explorer: learning in overlap space on a page of the browser, redrawn as its sliders move.

Only the command `overlap-learning explore` imports it: the page needs Bokeh, which all the rest does without.
"""
