"""The lab: guests that crash on purpose, and the dumps and the truth that they leave."""
