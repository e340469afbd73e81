"""Names of layers as the Dataflow Compiler gives them."""

from fewbits.testing import Net
from fewbits_hailo.layernames import layer_names, port_names, scope


def finished(net, value, *shape):
    net.output(value, *shape)
    return net.build()


def test_each_kind_is_counted_for_itself_in_the_order_of_the_nodes():
    net = Net("n")
    x = net.op("Relu", net.conv(net.input("x", 3, 8, 8), 3, 4))
    y = net.op("Relu", net.conv(x, 4, 4, group=4))
    y = net.conv(y, 4, 4, kernel=1)
    y = net.op("Add", y, x)
    y = net.op("GlobalAveragePool", net.conv(y, 4, 4, group=4))
    y = net.gemm(net.op("Flatten", y), 4, 5)
    names = layer_names(finished(net, y, 5))
    assert list(names.values()) == ["conv1", "dw1", "conv2", "ew_add1", "dw2", "avgpool1", "fc1"]


def test_grouped_convolutions_are_convolutions_unless_each_channel_is_a_group():
    net = Net("n")
    y = net.conv(net.input("x", 4, 8, 8), 4, 4, group=2)
    assert list(layer_names(finished(net, y, 4, 8, 8)).values()) == ["conv1"]


def test_an_activation_has_no_name_where_it_is_fused_and_one_where_it_is_not():
    net = Net("n")
    a = net.conv(net.input("x", 4, 8, 8), 4, 4)
    alone = net.op("Tanh", a)  # `a` is read twice, so nothing can be fused into it
    b = net.op("Sigmoid", net.conv(a, 4, 4))
    model = finished(net, net.op("Concat", alone, b, axis=1), 8, 8, 8)
    assert list(layer_names(model).values()) == ["conv1", "activation1", "conv2", "concat1"]


def test_a_product_of_a_tensor_with_its_own_gate_is_an_activation_and_no_ew_mult():
    net = Net("n")
    a = net.conv(net.input("x", 4, 8, 8), 4, 4)
    silu = net.op("Mul", a, net.op("Sigmoid", a))
    b = net.conv(silu, 4, 4)
    shifted = net.op("Add", b, net.constant([3.0]))
    gate = net.op("Clip", shifted, net.constant([0.0]), net.constant([6.0]))
    hard = net.op("Div", net.op("Mul", b, gate), net.constant([6.0]))
    model = finished(net, net.op("Mul", hard, net.conv(hard, 4, 4)), 4, 8, 8)
    assert list(layer_names(model).values()) == ["conv1", "conv2", "conv3", "ew_mult1"]


def test_scaling_by_constants_is_one_mul_and_add():
    net = Net("n")
    y = net.op("Mul", net.input("x", 4, 8, 8), net.constant([2.0]))
    y = net.op("Add", y, net.constant([1.0]))
    model = finished(net, net.op("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2]), 4, 4, 4)
    assert list(layer_names(model).values()) == ["mul_and_add1", "maxpool1"]


def test_a_product_of_two_computed_tensors_is_a_matmul_and_one_with_weights_is_not():
    net = Net("n")
    x = net.input("x", 4, 8)
    weight = net.normal((8, 8), 8)
    a = net.op("MatMul", x, weight)
    b = net.op("Transpose", x, perm=[0, 2, 1])
    model = finished(net, net.op("Softmax", net.op("MatMul", a, b), axis=-1), 4, 4)
    names = list(layer_names(model).values())
    assert names == ["conv1", "format_conversion1", "matmul1", "softmax1"]


def test_inputs_and_outputs_are_counted_in_the_order_of_the_graph():
    net = Net("n")
    a, b = net.input("a", 4), net.input("b", 4)
    net.output(net.op("Relu", b), 4)
    net.output(net.op("Relu", a), 4)
    assert port_names(net.build()) == {
        "input_layer1": "a",
        "input_layer2": "b",
        "output_layer1": "relu_0_out",
        "output_layer2": "relu_1_out",
    }


def test_the_scope_is_the_networks_name_without_what_no_word_holds():
    net = Net("yolov5m_6.1 (copy)")
    assert scope(finished(net, net.op("Relu", net.input("x", 4)), 4)) == "yolov5m_6_1__copy_"


def test_no_two_layers_have_the_same_name():
    net = Net("n")
    y = net.input("x", 4, 8, 8)
    for _ in range(12):
        y = net.conv(net.op("Relu", net.conv(y, 4, 4, group=4)), 4, 4)
    names = layer_names(finished(net, y, 4, 8, 8))
    assert len(set(names.values())) == len(names) == 24
    assert set(names) == {str(n.name) for n in net.build().graph if n.op_type == "Conv"}
