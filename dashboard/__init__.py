"""What people look at and try: a Streamlit application that reads and never writes."""
