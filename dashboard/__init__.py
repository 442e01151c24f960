"""What people look at and try, and where they decide on a challenger: a Streamlit application."""
