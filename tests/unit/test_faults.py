"""The faults that the product is tested against, each with the tests that cause it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

FAULTS: dict[str, list[str]] = {
    "01 characters beyond 16 bits, positions in three encodings": [
        "e2e/test_lsp_inline.py::test_astral_characters_in_every_encoding",
        "unit/test_document.py::test_a_position_inside_a_code_point_moves_to_its_start",
    ],
    "02 half a surrogate pair from the editor and from the model": [
        "e2e/test_hostile.py::test_half_characters_from_both_sides_reach_the_log_as_something_harmless",
        "unit/test_store.py::test_lone_surrogate_is_kept_as_its_escape",
    ],
    "03 line endings of every kind, no last one": [
        "e2e/test_hostile.py::test_code_is_put_into_odd_files_where_it_belongs",
        "unit/test_document.py::test_edits_equal_a_naive_reference",
    ],
    "04 characters that only Python takes for line ends": [
        "unit/test_table.py::test_characters_that_only_python_takes_for_line_ends"
    ],
    "05 byte order mark, a long line, a coding cookie": [
        "e2e/test_hostile.py::test_code_is_put_into_odd_files_where_it_belongs"
    ],
    "06 3,000 instructions in one file": [
        "e2e/test_hostile.py::test_a_file_full_of_instructions_asks_for_nothing_by_itself"
    ],
    "07 a huge file, a hundred open files": [
        "e2e/test_hostile.py::test_many_and_large_files_do_not_keep_a_keystroke_waiting"
    ],
    "08 malformed frames and messages, out of season": [
        "e2e/test_transport.py::test_a_broken_frame_is_refused_and_the_next_one_read",
        "e2e/test_transport.py::test_requests_out_of_season_are_refused",
        "e2e/test_transport.py::test_an_id_that_is_none_is_refused",
        "e2e/test_fuzz_transport.py::test_bytes",
        "e2e/test_fuzz_transport.py::test_each_request_has_one_answer",
    ],
    "09 odd versions, overlapping changes, a file closed or renamed during generation": [
        "e2e/test_fuzz_session.py::test_sessions",
        "e2e/test_hostile.py::test_a_file_that_goes_while_code_is_made_for_it",
    ],
    "10 a thousand requests taken back": [
        "e2e/test_hostile.py::test_a_storm_of_requests_taken_back_at_any_time",
        "unit/test_torch_engine.py::test_it_stops_within_two_tokens_of_the_client_leaving",
    ],
    "11 a client that stops reading, or is gone": [
        "e2e/test_hostile.py::test_a_client_that_reads_nothing_keeps_no_process",
        "e2e/test_transport.py::test_the_server_ends_when_its_client_is_gone",
        "e2e/test_lsp_life.py::test_it_ends_with_its_editor_though_the_pipe_stays_open",
    ],
    "12 comments that ask for nothing, in every place": [
        "unit/test_instruction.py::test_never",
        "unit/test_instruction.py::test_text_in_strings_is_no_comment",
    ],
    "13 control tokens, fences, hidden characters in comments": [
        "unit/test_context.py::test_control_tokens_are_defused_and_restored",
        "unit/test_context.py::test_a_fence_in_the_file_does_not_close_ours",
        "unit/test_instruction.py::test_invisible_characters_are_taken_out",
        "unit/test_control_tokens.py::test_a_token_reaches_no_place_of_a_prompt",
        "unit/test_torch_engine.py::test_control_tokens_in_what_users_write_stay_text",
        "e2e/test_warnings.py::test_hidden_characters_stay_out_of_prompt_and_file",
    ],
    "14 SIGKILL while two servers log": [
        "e2e/test_durability.py::test_killed_servers_lose_nothing_that_was_acknowledged"
    ],
    "15 a full disk": [
        "e2e/test_durability.py::test_a_full_and_a_read_only_disk_stop_no_suggestion_and_lose_no_row",
        "unit/test_events.py::test_full_disk_gives_one_warning_and_writing_resumes",
    ],
    "16 writers, readers and migrations at once": [
        "e2e/test_durability.py::test_killed_servers_lose_nothing_that_was_acknowledged",
        "unit/test_store.py::test_processes_that_start_together_make_one_store",
        "unit/test_store.py::test_migration_runs_once_and_all_or_nothing",
    ],
    "17 a store that is damaged, empty, newer, read-only, a folder, a link, taken away": [
        "unit/test_store.py::test_damaged_file_is_set_aside_and_a_new_one_begun",
        "unit/test_store.py::test_empty_file_becomes_a_store",
        "unit/test_store.py::test_newer_schema_is_left_alone",
        "unit/test_store.py::test_read_only_folder_is_refused",
        "unit/test_store.py::test_folder_link_and_pipe_are_refused",
        "e2e/test_durability.py::test_damage_while_two_servers_write_is_told_and_costs_no_new_row",
        "e2e/test_durability.py::test_a_file_that_is_taken_away_is_not_written_to_any_more",
    ],
    "18 a clock that is set, events told twice, in odd order, of nobody": [
        "e2e/test_durability.py::test_a_clock_that_was_set_forward_deletes_nothing",
        "e2e/test_durability.py::test_a_clock_that_was_set_back_keeps_every_event_once",
        "unit/test_store.py::test_writing_twice_is_writing_once",
        "unit/test_store.py::test_event_for_an_unknown_suggestion_is_refused_with_a_reason",
    ],
    "19 a host that is killed, stopped, out of memory": [
        "unit/test_process.py::test_the_next_request_after_a_kill_gets_a_new_host",
        "unit/test_process.py::test_a_kill_in_mid_answer_is_told_and_the_next_request_gets_a_new_host",
        "unit/test_process.py::test_a_stopped_process_is_replaced",
        "unit/test_process.py::test_the_breaker_closes_again",
        "unit/test_torch_engine.py::test_out_of_memory_is_told_as_that",
    ],
    "20 connections that stall at every point": [
        "unit/test_client.py::test_each_deadline_fires",
        "unit/test_client.py::test_bytes_that_are_no_tokens_do_not_put_a_deadline_off",
        "unit/test_client.py::test_a_connection_that_is_never_answered_is_given_up",
    ],
    "21 every wrong answer of an endpoint, bombs, redirects, certificates": [
        "unit/test_client.py::test_each_fault_has_its_type_its_line_and_its_fix",
        "unit/test_client.py::test_the_key_goes_to_the_origin_and_nowhere_else",
        "unit/test_client.py::test_an_untrusted_certificate_is_refused",
        "unit/test_client.py::test_a_certificate_of_a_known_authority_is_still_looked_at",
        "unit/test_client.py::test_text_split_inside_characters_arrives_whole",
        "e2e/test_hostile.py::test_a_small_answer_that_unpacks_to_a_huge_one",
    ],
    "22 files that are no model": [
        "unit/test_catalog.py::test_what_is_no_model_file_is_refused_with_a_reason",
        "unit/test_catalog.py::test_a_damaged_header_is_read_or_refused_and_nothing_else",
        "unit/test_catalog.py::test_what_is_open_is_what_is_checked_whatever_the_path_names_by_then",
        "unit/test_pull.py::test_a_wrong_file_is_refused_and_deleted",
        "unit/test_torch_load.py::test_a_folder_that_is_not_the_model_it_claims",
    ],
    "23 adapters that do not fit": [
        "unit/test_torch_engine.py::test_an_adapter_that_does_not_fit_is_refused_and_the_one_before_stays",
        "unit/test_tune_registry.py::test_killed_at_any_step_it_serves_the_old_or_the_new_and_never_half",
    ],
    "24 no accelerator, or one that is lost": [
        "unit/test_torch_load.py::test_a_device_that_is_not_here",
        "unit/test_torch_engine.py::test_a_device_that_is_lost_is_told_and_ends_no_thread",
        "unit/test_torch_engine.py::test_a_device_that_hangs_is_told",
    ],
    "25 a prompt longer than the context": [
        "unit/test_context.py::test_a_budget_is_kept_and_the_head_never_cut",
        "unit/test_host_app.py::test_a_prompt_longer_than_the_context_is_refused_with_both_counts",
    ],
    "26 endless repetition": ["e2e/test_pipeline.py::test_a_model_in_a_loop_is_stopped"],
    "27 answers that are no code": [
        "e2e/test_hostile.py::test_an_answer_that_is_no_code_is_not_put_in",
        "e2e/test_hostile.py::test_of_two_blocks_and_of_a_flood_of_words_only_code_is_taken",
    ],
    "28 code of another Python": [
        "unit/test_validate.py::test_what_cpython_rejects",
        "unit/test_versions.py::test_what_is_too_new",
    ],
    "29 code that is sound alone and not in its place, and the reverse": [
        "unit/test_validate.py::test_what_cpython_rejects",
        "unit/test_validate.py::test_what_is_sound",
    ],
    "30 bombs for the parser and for the sandbox": [
        "unit/test_validate.py::test_bombs_are_refused",
        "unit/test_verify.py::test_parse_bombs_decide_nothing_and_hurt_nobody",
        "e2e/test_bombs.py::test_a_keystroke_is_answered_beside_bombs",
    ],
    "31 answers that repeat or delete what stands below": [
        "unit/test_splice.py::test_what_follows_is_neither_repeated_nor_deleted"
    ],
    "32 risky calls, secrets and unknown imports, before they are taken": [
        "unit/test_hazards.py::test_a_call_is_seen_through_its_names",
        "unit/test_hazards.py::test_ordinary_code_has_no_risky_calls",
        "e2e/test_warnings.py::test_grey_text_that_was_asked_for_is_told_in_title_status_hover_action_and_log",
        "e2e/test_warnings.py::test_what_nobody_asked_for_is_no_grey_text",
        "e2e/test_warnings.py::test_a_new_secret_is_told_before_it_is_taken",
        "e2e/test_warnings.py::test_a_made_up_package_is_told_also_without_a_workspace",
        "unit/test_environment.py::test_unknown_imports",
    ],
    "33 settings of a cloned repository, folders of any name": [
        "unit/test_config.py::test_an_editor_cannot_set_what_a_cloned_repository_must_not",
        "unit/test_config.py::test_files_of_the_working_folder_set_nothing",
        "e2e/test_hostile_workspace.py::test_nothing_in_a_workspace_sends_code_or_key_elsewhere",
        "e2e/test_hostile.py::test_a_workspace_of_any_name",
    ],
    "34 rows that teach nothing, or what must not be learnt": [
        "unit/test_tune_data.py::test_what_is_not_learnt",
        "unit/test_tune_data.py::test_planted_secrets_never_reach_the_data_set",
        "unit/test_tune_data.py::test_the_sizes_of_a_log_and_what_is_missing",
        "unit/test_tune_data.py::test_one_of_the_same_is_left_and_conflicts_are_settled",
        "unit/test_tune_training.py::test_killed_and_gone_on_with_it_comes_to_the_same",
        "unit/test_tune_registry.py::test_a_disk_that_fills_up_leaves_what_serves",
    ],
    "35 an adapter that is worse, or tells secrets": [
        "unit/test_tune_compare.py::test_what_is_not_better_is_refused",
        "unit/test_tune_compare.py::test_tasks_that_are_lost_refuse_it",
        "unit/test_tune_compare.py::test_a_secret_that_was_learnt_is_seen",
        "unit/test_tune_registry.py::test_back_from_one_to_the_one_before_and_to_the_model_itself",
        "e2e/test_tune_loop.py::test_edits_change_what_is_suggested_and_rolled_back_nothing_is_left",
    ],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_its_tests(fault: str) -> None:
    for one in FAULTS[fault]:
        file, _, name = one.partition("::")
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        assert name in {node.name for node in tree.body if isinstance(node, functions)}, one


def test_no_fault_is_left_out() -> None:
    assert sorted(name[:2] for name in FAULTS) == [f"{number:02}" for number in range(1, 36)]
