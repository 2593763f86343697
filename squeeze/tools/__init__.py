"""For people: what turns results into something to read. The live path imports none of it."""
