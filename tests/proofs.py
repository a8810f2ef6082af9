"""Which numeric test proves each option: against its formula, or a second computation."""

PROOFS: dict[str, list[str]] = {
    "procedure=draw_schedule": [
        "procedure/test_draw_schedule.py::test_it_draws_what_training_does",
        "procedure/test_draw_schedule.py::test_a_schedule_that_watches_validation",
    ],
    "data=mnist": ["data/test_torchvision_sets.py::test_mnist"],
    "data=fashion_mnist": ["data/test_torchvision_sets.py::test_mnist"],
    "data=cifar10": ["data/test_torchvision_sets.py::test_cifar"],
    "data=cifar100": ["data/test_torchvision_sets.py::test_cifar"],
    "data=digits": [
        "data/test_digits.py::test_digits_are_scikit_learns_to_the_last_pixel_times_15"
    ],
    "data=imagefolder": [
        "data/test_imagefolder.py::test_a_folder_per_class",
        "data/test_imagefolder.py::test_resizing_averages_rather_than_picks",
        "data/test_image.py::test_short_is_the_middle_as_torchvision_cuts_it",
        "data/test_image.py::test_a_set_has_the_smallest_depth_that_holds_its_values",
        "data/test_image.py::test_transparency_shows_the_background",
    ],
    "data=arrays": [
        "data/test_arrays.py::test_npz_classification",
        "data/test_arrays.py::test_regression",
        "data/test_arrays.py::test_csv_regression_and_whole_numbers",
    ],
    "preprocessing=standardize": [
        "preprocessing/test_affine.py::test_images_as_in_numpy",
        "preprocessing/test_affine.py::test_tables_go_by_feature",
    ],
    "preprocessing=center": ["preprocessing/test_affine.py::test_center_takes_the_mean_image_away"],
    "preprocessing=center_channel": [
        "preprocessing/test_affine.py::test_center_channel_takes_the_mean_colour_away"
    ],
    "preprocessing=rescale": [
        "preprocessing/test_affine.py::test_bytes_are_rescaled_from_their_whole_range",
        "preprocessing/test_affine.py::test_tables_are_rescaled_from_the_range_of_each_feature",
    ],
    "preprocessing=pca": [
        "preprocessing/test_projection.py::test_pca_as_in_scikit_learn",
        "preprocessing/test_projection.py::test_pca_of_images_is_decorrelated",
        "preprocessing/test_projection.py::test_the_share_of_variance_is_reached_and_not_with_one_less",
    ],
    "preprocessing=whiten": [
        "preprocessing/test_projection.py::test_whitened_images_have_the_identity_as_covariance",
        "preprocessing/test_projection.py::test_whitened_tables_in_float64",
    ],
    "preprocessing=zca": [
        "preprocessing/test_projection.py::test_zca_is_the_formula_and_symmetric"
    ],
    "augmentation=flip": [
        "augmentation/test_indexing.py::test_flip_mirrors_or_leaves_each_image",
        "augmentation/test_geometric.py::test_flip_mirrors_each_axis_with_its_probability",
    ],
    "augmentation=crop": [
        "augmentation/test_indexing.py::test_crop_cuts_a_window_of_the_padded_image",
        "augmentation/test_indexing.py::test_padding_as_in_numpy",
    ],
    "augmentation=translate": [
        "augmentation/test_geometric.py::test_translate_is_uniform_in_shares_of_the_sides"
    ],
    "augmentation=rescale": [
        "augmentation/test_geometric.py::test_rescale_is_uniform_in_the_logarithm"
    ],
    "augmentation=rotate": [
        "augmentation/test_geometric.py::test_rotate_is_a_rotation_by_a_uniform_angle",
        "augmentation/test_geometric.py::test_rotated_images_as_torchvision_rotates_them",
    ],
    "augmentation=stretch": ["augmentation/test_geometric.py::test_stretch_keeps_the_area"],
    "augmentation=shear": ["augmentation/test_geometric.py::test_shear_leans_by_uniform_angles"],
    "augmentation=lens": [
        "augmentation/test_geometric.py::test_lens_moves_along_the_radius_by_the_formula"
    ],
    "augmentation=elastic": [
        "augmentation/test_geometric.py::test_elastic_is_alpha_times_smoothed_noise",
        "augmentation/test_warp.py::test_random_interpolation_takes_each_kind_equally_often_image_by_image",
        "augmentation/test_warp.py::test_each_interpolation_by_hand",
    ],
    "augmentation=scale_crop": [
        "augmentation/test_geometric.py::test_scale_crop_is_a_whole_window_of_the_resized_image",
        "augmentation/test_geometric.py::test_scale_crop_enlarges_as_torchvision_resizes",
        "augmentation/test_geometric.py::test_scale_crop_averages_pixels_where_it_makes_smaller",
    ],
    "augmentation=color_jitter": [
        "augmentation/test_color.py::test_jitter_is_the_four_changes_in_turn",
        "augmentation/test_color.py::test_each_change_is_that_of_torchvision",
    ],
    "augmentation=photometric": [
        "augmentation/test_color.py::test_lighting_has_the_axes_of_the_training_split",
        "augmentation/test_color.py::test_lighting_adds_one_colour_to_all_pixels_of_an_image",
    ],
    "augmentation=noise": [
        "augmentation/test_pixels.py::test_noise_is_normal_for_each_pixel_and_clamped"
    ],
    "augmentation=cutout": [
        "augmentation/test_pixels.py::test_cutout_covers_one_square_about_a_pixel_of_the_image"
    ],
    "augmentation=mixup": [
        "augmentation/test_mixing.py::test_shares_have_the_beta_distribution",
        "augmentation/test_mixing.py::test_mixup_blends_samples_and_targets_by_the_same_share",
    ],
    "augmentation=cutmix": [
        "augmentation/test_mixing.py::test_cutmix_mixes_targets_by_the_area_that_is_left",
        "augmentation/test_mixing.py::test_cutmix_rectangles_have_the_sides_of_the_formula",
    ],
    "augmentation=randaugment": [
        "augmentation/test_randaugment.py::test_each_operation_is_that_of_torchvision",
        "augmentation/test_randaugment.py::test_operations_and_signs_are_drawn_equally_often",
    ],
    "model=linear": ["model/test_networks.py::test_linear_is_an_mlp_without_hidden_layers"],
    "model=mlp": ["model/test_networks.py::test_mlp_as_in_numpy"],
    "model=cnn": [
        "model/test_networks.py::test_weights_and_sizes_of_a_cnn",
        "model/test_count.py::test_of_a_cnn",
    ],
    "model=resnet": [
        "model/test_networks.py::test_weights_of_the_residual_networks_of_the_paper",
        "model/test_networks.py::test_skip_connections_add_the_padded_input",
    ],
    "model=lenet": [
        "model/test_lenet_vgg.py::test_lenet_written_out",
        "model/test_lenet_vgg.py::test_weights_of_lenet_5",
    ],
    "model=vgg": [
        "model/test_lenet_vgg.py::test_vgg_written_out",
        "model/test_lenet_vgg.py::test_weights_of_vgg_16",
    ],
    "model=autoencoder": [
        "model/test_autoencoder.py::test_tied_gradients_by_hand",
        "model/test_autoencoder.py::test_a_linear_one_learns_the_principal_subspace",
    ],
    "model=torchvision": [
        "model/test_torchvision.py::test_three_channels_give_torchvision_s_own_network"
    ],
    "model=custom": ["job/test_factory.py::test_the_users_own_model"],
    "activation=identity": ["test_activation.py::test_values_and_gradients"],
    "activation=sigmoid": ["test_activation.py::test_values_and_gradients"],
    "activation=tanh": ["test_activation.py::test_values_and_gradients"],
    "activation=relu": ["test_activation.py::test_values_and_gradients"],
    "activation=leaky_relu": ["test_activation.py::test_values_and_gradients"],
    "activation=elu": ["test_activation.py::test_values_and_gradients"],
    "activation=selu": ["test_activation.py::test_values_and_gradients"],
    "activation=gelu": ["test_activation.py::test_values_and_gradients"],
    "activation=silu": ["test_activation.py::test_values_and_gradients"],
    "activation=softplus": ["test_activation.py::test_values_and_gradients"],
    "activation=prelu": [
        "test_activation.py::test_values_and_gradients",
        "test_activation.py::test_each_layer_learns_its_own_slope",
    ],
    "activation=maxout": [
        "test_activation.py::test_values_and_gradients",
        "test_activation.py::test_maxout_multiplies_the_weights_of_its_layer",
    ],
    "initializer=small_uniform": ["initializer/test_scaled.py::test_packaged_distributions"],
    "initializer=small_normal": [
        "initializer/test_scaled.py::test_packaged_distributions",
        "initializer/test_layer_statistics.py::test_small_weights_let_the_signal_vanish",
    ],
    "initializer=large_normal": [
        "initializer/test_scaled.py::test_packaged_distributions",
        "initializer/test_layer_statistics.py::test_large_weights_saturate_every_layer",
    ],
    "initializer=uniform": ["initializer/test_scaled.py::test_packaged_distributions"],
    "initializer=normal": ["initializer/test_scaled.py::test_packaged_distributions"],
    "initializer=zeros": ["initializer/test_scaled.py::test_constant"],
    "initializer=constant": ["initializer/test_scaled.py::test_constant"],
    "initializer=lecun": [
        "initializer/test_scaled.py::test_lecun",
        "initializer/test_layer_statistics.py::test_lecun_lets_it_fall_slowly",
    ],
    "initializer=xavier": ["initializer/test_scaled.py::test_xavier"],
    "initializer=xavier_normal": [
        "initializer/test_scaled.py::test_xavier",
        "initializer/test_scaled.py::test_packaged_distributions_of_he_and_xavier",
    ],
    "initializer=xavier_uniform": [
        "initializer/test_scaled.py::test_xavier",
        "initializer/test_scaled.py::test_packaged_distributions_of_he_and_xavier",
    ],
    "initializer=he": ["initializer/test_scaled.py::test_he"],
    "initializer=he_normal": [
        "initializer/test_scaled.py::test_he",
        "initializer/test_scaled.py::test_packaged_distributions_of_he_and_xavier",
    ],
    "initializer=he_uniform": [
        "initializer/test_scaled.py::test_he",
        "initializer/test_scaled.py::test_packaged_distributions_of_he_and_xavier",
    ],
    "initializer=default": ["initializer/test_scaled.py::test_default_leaves_all_as_it_is"],
    "initializer=random_walk": [
        "initializer/test_scaled.py::test_random_walk",
        "initializer/test_scaled.py::test_a_random_walk_has_no_drift",
    ],
    "initializer=orthogonal": ["initializer/test_structured.py::test_orthogonal"],
    "initializer=dirac": ["initializer/test_structured.py::test_dirac_hands_the_input_on"],
    "initializer=hanin_rolnick": [
        "initializer/test_structured.py::test_hanin_rolnick_scales_the_branches"
    ],
    "initializer=weight_norm": [
        "initializer/test_structured.py::test_weight_norm_gives_each_unit_its_length",
        "initializer/test_structured.py::test_weight_norm_keeps_the_norm_through_layers_of_any_width",
    ],
    "initializer=lsuv": [
        "initializer/test_data_dependent.py::test_lsuv_gives_every_layer_unit_variance"
    ],
    "initializer=data_dependent": [
        "initializer/test_data_dependent.py::test_every_unit_gets_its_mean_and_unit_variance",
        "initializer/test_data_dependent.py::test_all_layers_learn_equally_fast_and_the_output_stays",
    ],
    "loss=cross_entropy": ["test_loss.py::test_values_and_gradients"],
    "loss=mse": ["test_loss.py::test_values_and_gradients"],
    "loss=mae": ["test_loss.py::test_values_and_gradients"],
    "loss=huber": ["test_loss.py::test_values_and_gradients"],
    "loss=bce": ["test_loss.py::test_values_and_gradients"],
    "loss=hinge": ["test_loss.py::test_values_and_gradients"],
    "optimizer=sgd": ["optimizer/test_formulas.py::test_five_steps_follow_the_formula"],
    "optimizer=momentum": [
        "optimizer/test_formulas.py::test_five_steps_follow_the_formula",
        "optimizer/test_formulas.py::test_momentum_rises_from_its_start_to_its_end",
    ],
    "optimizer=nesterov": ["optimizer/test_formulas.py::test_five_steps_follow_the_formula"],
    "optimizer=adagrad": ["optimizer/test_formulas.py::test_five_steps_follow_the_formula"],
    "optimizer=adadelta": ["optimizer/test_formulas.py::test_five_steps_follow_the_formula"],
    "optimizer=rmsprop": ["optimizer/test_formulas.py::test_five_steps_follow_the_formula"],
    "optimizer=adam": ["optimizer/test_formulas.py::test_five_steps_follow_the_formula"],
    "optimizer=adamw": ["optimizer/test_formulas.py::test_five_steps_follow_the_formula"],
    "optimizer=nadam": ["optimizer/test_formulas.py::test_five_steps_follow_the_formula"],
    "optimizer=radam": ["optimizer/test_formulas.py::test_five_steps_follow_the_formula"],
    "optimizer=asgd": [
        "optimizer/test_formulas.py::test_five_steps_follow_the_formula",
        "optimizer/test_formulas.py::test_asgd_averages_the_weights_after_its_start",
    ],
    "optimizer=rprop": [
        "optimizer/test_formulas.py::test_rprop_follows_its_formula_where_signs_hold_and_turn"
    ],
    "optimizer=lbfgs": [
        "optimizer/test_lbfgs.py::test_a_quadratic_is_solved_where_descent_has_hardly_begun",
        "optimizer/test_lbfgs.py::test_first_iterations_follow_the_formula",
    ],
    "optimizer=muon": [
        "optimizer/test_muon.py::test_five_steps_follow_the_formula",
        "optimizer/test_muon.py::test_orthogonal_keeps_the_singular_vectors",
    ],
    "optimizer=line_search": [
        "optimizer/test_line_search.py::test_five_steps_keep_the_lowest_of_all_trials",
        "optimizer/test_line_search.py::test_every_trial_sees_the_same_dropout_mask",
    ],
    "optimizer=vsgd": ["optimizer/test_vsgd.py::test_steps_follow_the_formula"],
    "optimizer=natural_gradient": [
        "optimizer/test_natural_gradient.py::test_one_step_solves_linear_regression",
        "optimizer/test_natural_gradient.py::test_steps_follow_the_formula",
        "optimizer/test_natural_gradient.py::test_factors_of_a_convolution_are_exact",
    ],
    "schedule=constant": ["test_schedule.py::test_constant"],
    "schedule=step": ["test_schedule.py::test_step"],
    "schedule=cosine": ["test_schedule.py::test_cosine"],
    "schedule=multistep": ["test_schedule.py::test_multistep"],
    "schedule=manual": ["test_schedule.py::test_manual"],
    "schedule=exponential": ["test_schedule.py::test_exponential"],
    "schedule=time": ["test_schedule.py::test_time"],
    "schedule=inverse": ["test_schedule.py::test_inverse"],
    "schedule=sqrt": ["test_schedule.py::test_sqrt"],
    "schedule=linear": ["test_schedule.py::test_linear"],
    "schedule=polynomial": ["test_schedule.py::test_polynomial"],
    "schedule=halve_on_worse": ["test_schedule.py::test_halve_on_worse"],
    "schedule=one_cycle": ["test_schedule.py::test_one_cycle_as_in_torch"],
    "schedule=plateau": ["test_schedule.py::test_plateau_as_in_torch"],
    "regularization=l1": ["regularization/test_penalty.py::test_gradient_and_value_of_the_penalty"],
    "regularization=l2": [
        "regularization/test_penalty.py::test_gradient_and_value_of_the_penalty",
        "regularization/test_penalty.py::test_decoupled_decay_scales_the_weights_by_the_rate",
    ],
    "regularization=elastic": ["regularization/test_penalty.py::test_the_ratio_of_the_elastic_net"],
    "regularization=dropout": [
        "regularization/test_dropout.py::test_what_reaches_the_layers_is_dropped_and_scaled"
    ],
    "regularization=dropconnect": [
        "regularization/test_dropconnect.py::test_masks_for_a_mini_batch",
        "regularization/test_dropconnect.py::test_masks_for_each_sample",
        "regularization/test_dropconnect.py::test_the_mean_of_many_passes_is_the_whole_layer",
    ],
    "regularization=stochastic_pooling": [
        "regularization/test_stochastic_pooling.py::test_training_has_the_mean_that_evaluation_gives",
        "regularization/test_stochastic_pooling.py::test_elements_are_drawn_by_their_size",
    ],
    "regularization=stochastic_depth": [
        "regularization/test_stochastic_depth.py::test_how_often_branches_survive",
        "regularization/test_stochastic_depth.py::test_survivors_are_divided_by_their_probability",
    ],
    "regularization=max_norm": [
        "regularization/test_max_norm.py::test_each_unit_is_projected_by_itself"
    ],
    "regularization=batch_norm": [
        "regularization/test_batch_norm.py::test_what_it_computes",
        "regularization/test_batch_norm.py::test_places",
    ],
    "regularization=weight_norm": [
        "regularization/test_weight_norm.py::test_gradients_of_length_and_direction"
    ],
    "regularization=label_smoothing": [
        "regularization/test_label_smoothing.py::test_loss_and_gradient",
        "regularization/test_label_smoothing.py::test_the_second_form_is_torch_s",
    ],
    "regularization=input_noise": [
        "regularization/test_noise.py::test_input_noise_is_normal_and_fresh",
        "regularization/test_noise.py::test_input_noise_equals_l2_for_a_linear_network_exactly",
    ],
    "regularization=target_noise": [
        "regularization/test_noise.py::test_labels_flip_to_each_other_class_alike",
        "regularization/test_noise.py::test_numbers_get_gaussian_noise",
    ],
    "regularization=gradient_noise": [
        "regularization/test_noise.py::test_gradient_noise_shrinks_with_the_steps"
    ],
    "regularization=early_stopping": ["regularization/test_early_stopping.py::test_stops"],
    "regularization=weight_average": [
        "regularization/test_weight_average.py::test_exponential_average",
        "regularization/test_weight_average.py::test_mean_from_a_start_at_every_period",
    ],
    "test_augmentation=flip": ["test_test_augmentation.py::test_flip_is_the_image_and_its_mirror"],
    "test_augmentation=center_crop": [
        "test_test_augmentation.py::test_the_middle_of_a_smaller_image_is_enlarged",
        "engine/test_train.py::test_trained_on_crops_and_evaluated_on_the_middle",
    ],
    "test_augmentation=five_crop": [
        "test_test_augmentation.py::test_five_crops_stand_in_the_corners_and_the_middle",
        "test_test_augmentation.py::test_crops_as_torchvision_cuts_them",
    ],
    "test_augmentation=ten_crop": [
        "test_test_augmentation.py::test_ten_crops_are_five_and_their_mirrors"
    ],
    "test_augmentation=multi_scale": [
        "test_test_augmentation.py::test_multi_scale_is_ten_crops_at_each_scale"
    ],
}
