//! Six-field schedules (NCRONTAB): `{second} {minute} {hour} {day} {month} {day of week}`, in UTC.
//!
//! Numbers, `*`, lists, ranges and steps; five fields mean second 0. Names of months and days are
//! refused, and so are time spans, which the real host takes only on an App Service plan. As there,
//! a day must match both day fields.

use anyhow::{Context, Result, bail, ensure};
use time::{Date, Duration, OffsetDateTime, Time};

/// A parsed schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    seconds: Field,
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
}

/// The values a field allows, one bit each.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Field(u64);

/// No allowed day recurs later than this: 29 February on one weekday, over a skipped leap year.
const HORIZON_DAYS: u32 = 366 * 41;

impl Schedule {
    /// Reads a schedule.
    pub fn parse(text: &str) -> Result<Self> {
        let mut fields: Vec<&str> = text.split_whitespace().collect();
        if fields.len() == 5 {
            fields.insert(0, "0");
        }
        let [seconds, minutes, hours, days, months, weekdays] = fields[..] else {
            bail!("schedule '{text}': six fields are needed, here are {}", fields.len());
        };
        let field = |text: &str, name, low, high| {
            Field::parse(text, low, high).with_context(|| format!("schedule '{text}', {name}"))
        };
        let mut weekdays = field(weekdays, "day of week", 0, 7)?;
        // Sunday is 0 and 7.
        weekdays.0 |= (weekdays.0 >> 7) & 1;
        Ok(Self {
            seconds: field(seconds, "second", 0, 59)?,
            minutes: field(minutes, "minute", 0, 59)?,
            hours: field(hours, "hour", 0, 23)?,
            days: field(days, "day", 1, 31)?,
            months: field(months, "month", 1, 12)?,
            weekdays,
        })
    }

    /// The first time after the given one; `None` for a day that never comes.
    pub fn next_after(&self, after: OffsetDateTime) -> Option<OffsetDateTime> {
        let from = after.replace_nanosecond(0).ok()? + Duration::SECOND;
        if self.allows(from.date())
            && let Some(time) = self.time_from(from.time())
        {
            return Some(from.replace_time(time));
        }
        let mut date = from.date();
        for _ in 0..HORIZON_DAYS {
            date = date.next_day()?;
            if self.allows(date) {
                return Some(from.replace_date(date).replace_time(self.time_from(Time::MIDNIGHT)?));
            }
        }
        None
    }

    /// Whether any two of the next runs are less than a minute apart; the host keeps no status then.
    pub fn is_sub_minute(&self, now: OffsetDateTime) -> bool {
        let runs: Vec<_> = std::iter::successors(self.next_after(now), |run| self.next_after(*run))
            .take(6)
            .collect();
        runs.windows(2).any(|pair| pair[1] - pair[0] < Duration::MINUTE)
    }

    fn allows(&self, date: Date) -> bool {
        self.days.has(date.day())
            && self.months.has(date.month().into())
            && self.weekdays.has(date.weekday().number_days_from_sunday())
    }

    fn time_from(&self, from: Time) -> Option<Time> {
        let (hour, minute, second) = from.as_hms();
        let first = |field: Field| field.from(0);
        if self.hours.has(hour) {
            if self.minutes.has(minute)
                && let Some(second) = self.seconds.from(second)
            {
                return Time::from_hms(hour, minute, second).ok();
            }
            if let Some(minute) = self.minutes.from(minute + 1) {
                return Time::from_hms(hour, minute, first(self.seconds)?).ok();
            }
        }
        let hour = self.hours.from(hour + 1)?;
        Time::from_hms(hour, first(self.minutes)?, first(self.seconds)?).ok()
    }
}

impl Field {
    fn parse(text: &str, low: u8, high: u8) -> Result<Self> {
        let mut bits = 0;
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, Some(step.parse::<u8>().context("step")?)),
                None => (part, None),
            };
            let (from, to) = match range.split_once('-') {
                Some((from, to)) => (from.parse()?, to.parse()?),
                None if range == "*" => (low, high),
                // `5/10` starts at 5 and goes on to the end.
                None => {
                    range.parse().map(|from| (from, if step.is_some() { high } else { from }))?
                }
            };
            let step = step.unwrap_or(1);
            ensure!(
                low <= from && from <= to && to <= high && step > 0,
                "'{part}' is not within {low}-{high}"
            );
            bits |= (from..=to).step_by(step.into()).fold(0, |bits, value| bits | 1u64 << value);
        }
        Ok(Self(bits))
    }

    fn has(self, value: u8) -> bool {
        value < 64 && self.0 >> value & 1 == 1
    }

    fn from(self, value: u8) -> Option<u8> {
        (value..60).find(|value| self.has(*value))
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn next_runs() {
        let now = datetime!(2026-11-22 08:03:10.5 UTC);
        for (text, next) in [
            ("*/10 * * * * *", datetime!(2026-11-22 08:03:20 UTC)),
            ("0 */5 * * * *", datetime!(2026-11-22 08:05:00 UTC)),
            ("*/5 * * * *", datetime!(2026-11-22 08:05:00 UTC)),
            ("10 3 8 * * *", datetime!(2026-11-23 08:03:10 UTC)),
            ("11 3 8 * * *", datetime!(2026-11-22 08:03:11 UTC)),
            ("0 0 0 1 * *", datetime!(2026-12-01 00:00:00 UTC)),
            ("0 30 9-17/4 * * 1-5", datetime!(2026-11-23 09:30:00 UTC)),
            ("0 0 12 * * 7", datetime!(2026-11-22 12:00:00 UTC)),
            ("0 15,45 7,23 29 2 *", datetime!(2028-02-29 07:15:00 UTC)),
            ("0 0 0 13 * 5", datetime!(2027-08-13 00:00:00 UTC)),
        ] {
            assert_eq!(Schedule::parse(text).unwrap().next_after(now), Some(next), "{text}");
        }
        let never = Schedule::parse("0 0 0 30 2 *").unwrap();
        assert_eq!(never.next_after(now), None);
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in [
            "",
            "00:05:00",
            "* * * *",
            "60 * * * * *",
            "* * * 0 * *",
            "*/0 * * * * *",
            "0 0 0 * JAN *",
        ] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_runs_under_a_minute_apart_keep_no_status() {
        let now = datetime!(2026-11-22 08:03:10 UTC);
        let sub_minute = |text| Schedule::parse(text).unwrap().is_sub_minute(now);
        assert!(sub_minute("*/10 * * * * *") && sub_minute("0,30 */5 * * * *"));
        assert!(!sub_minute("0 * * * * *") && !sub_minute("0 */5 * * * *"));
    }
}
