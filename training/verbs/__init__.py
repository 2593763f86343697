"""The verbs that training adds to the command line, found through entry points.

Importing one imports nothing heavy: each does so when it runs.

"""
