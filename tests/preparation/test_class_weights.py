import time
def test_a(synthetic_csv): pass
def test_a2(affectnet_folder): pass
def test_b(prepared): pass
def test_c(store_template): pass
def test_d(tf): pass
