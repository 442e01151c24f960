-- Run once by the postgres image, when its volume is new.
CREATE DATABASE mlflow;
CREATE DATABASE prefect;
