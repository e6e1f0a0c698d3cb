"""Django 5.2 asks for Postgres 14 or later; shared servers still run 13, and nothing used here needs more.

A backend of Django's is a package with a module of this name:
https://docs.djangoproject.com/en/5.2/ref/databases/#subclassing-the-built-in-database-backends
"""

from django.db.backends.postgresql import base, features


class DatabaseFeatures(features.DatabaseFeatures):
    minimum_database_version = (13,)


class DatabaseWrapper(base.DatabaseWrapper):
    features_class = DatabaseFeatures
