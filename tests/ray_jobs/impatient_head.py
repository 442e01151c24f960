"""A cluster that forgets its users at once."""

from ray_jobs import head

head.FORGOTTEN_SECONDS = 0.0

if __name__ == "__main__":
    head.main()
