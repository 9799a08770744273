"""Leak checks: can labels be had otherwise than by what the images show, and do folds share what they must not?"""
