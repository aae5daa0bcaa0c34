//! Tests that need something of the machine: a server program, a name, a mount, Python.
//!
//! Where it is missing the test is ignored, with the reason before its name, and counted as such.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "test code"
)]

mod alerts;
mod browser;
mod condition;
mod control;
mod database;
mod few_connections;
mod loaders;
mod logins;
mod loopback;
mod mounted;
mod others;
mod pillow;
mod pooler;
mod python;
mod shells;
mod token;
mod workbook;

use condition::Condition;
use libtest_mimic::{Arguments, Failed, Trial};
use std::{future::Future, process::ExitCode};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = trials(&arguments);
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trials(arguments: &Arguments) -> Vec<Trial> {
    macro_rules! trials {
        ($($module:ident::$name:ident needs $condition:ident;)*) => {
            vec![$(trial(arguments, stringify!($name), condition::$condition, || {
                block_on($module::$name())
            })),*]
        };
    }
    trials![
        alerts::temp_fires_for_the_instance_whose_disk_is_full needs kql;
        alerts::failed_fires_for_six_chunks_and_not_for_five needs kql;
        alerts::rejected_fires_for_a_bad_message_and_for_poison needs kql;
        alerts::active_saturated_and_silent_follow_the_timer needs kql;
        alerts::nothing_fires_for_a_fleet_at_rest needs kql;
        browser::what_strangers_wrote_never_runs_in_a_browser needs browser;
        browser::sheets_and_reasons_are_of_the_manifests_in_a_browser needs browser;
        browser::a_report_stands_alone_in_a_browser needs browser;
        browser::a_page_moves_with_its_job_in_a_browser needs browser;
        browser::a_page_whose_tunnel_hangs_says_that_it_is_old_in_a_browser needs browser;
        browser::everything_is_done_by_keyboard_in_a_browser needs browser;
        browser::a_post_of_another_site_is_refused_in_a_browser needs browser;
        browser::a_form_works_from_another_machine_in_a_browser needs browser;
        browser::every_page_meets_wcag_in_a_browser needs browser;
        control::a_missing_condition_is_ignored_and_never_passed needs nothing;
        database::a_crash_of_postgres_loses_and_charges_nothing needs own_postgres;
        database::chunks_outlast_a_failover_with_all_they_have needs own_postgres;
        few_connections::with_few_connections_a_handler_works_or_takes_no_chunk needs own_postgres;
        logins::doctor_names_why_a_login_is_refused needs own_postgres;
        logins::a_pod_is_the_instance_of_its_telemetry needs own_postgres;
        logins::a_refused_token_costs_no_health_check needs own_postgres;
        logins::doctor_names_why_there_is_no_tls needs own_postgres;
        logins::doctor_names_what_is_there_instead_of_postgres needs own_postgres;
        token::tokens_that_end_lose_and_charge_nothing needs own_postgres;
        loopback::a_name_that_resolves_to_loopback_is_refused needs name_of_loopback;
        mounted::the_memory_limit_comes_from_the_control_group needs mount_namespace;
        mounted::a_handler_without_name_servers_starts_and_says_so needs mount_namespace;
        mounted::doctor_names_a_full_temp_directory needs mount_namespace;
        pooler::settings_hold_behind_a_session_pooler needs pgbouncer;
        pooler::a_transaction_pooler_is_refused_by_its_name needs pgbouncer;
        pooler::a_pooler_that_refuses_parameters_is_named needs pgbouncer;
        others::of_odd_answers_nobody_keeps_more needs others;
        python::samples_are_consecutive_pairs_for_pythons_tarfile needs python;
        loaders::both_loaders_read_every_format_unchanged needs loaders;
        loaders::original_extensions_load_as_far_as_loaders_take_them needs loaders;
        loaders::an_empty_shard_is_passed_over needs loaders;
        loaders::the_folder_of_a_job_is_a_dataset needs loaders;
        loaders::captions_and_classes_load_as_text_and_number needs loaders;
        loaders::the_snippets_of_the_readme_run needs loaders;
        pillow::what_is_valid_opens_in_pillow needs loaders;
        pillow::what_pillow_writes_has_one_verdict_at_medium_and_slow needs loaders;
        shells::zsh_takes_the_completions needs zsh;
        shells::fish_takes_the_completions needs fish;
        shells::colour_is_for_terminals_that_want_it needs terminal;
        workbook::each_tile_shows_what_the_handler_sends needs kql;
    ]
}

/// A test that is ignored with the reason where its condition is not met.
fn trial(
    arguments: &Arguments,
    name: &str,
    condition: Condition,
    run: impl FnOnce() + Send + 'static,
) -> Trial {
    // Finding out may mean to install something: only for a test that is going to run.
    let filter = arguments.filter.as_deref();
    let is_chosen = !arguments.list && filter.is_none_or(|filter| name.contains(filter));
    let missing = if is_chosen { condition().err() } else { None };
    let test = move || {
        run();
        Ok::<(), Failed>(())
    };
    let trial = Trial::test(name, test).with_ignored_flag(missing.is_some());
    trial.with_kind(missing.unwrap_or_default())
}

fn block_on<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test)
}
