namespace WandbLaunch.Agents;

/// <summary>How the Task Scheduler logs an account on, in a task's XML and in the call that registers it; the two must agree.</summary>
internal static class TaskLogon
{
    // TASK_LOGON_TYPE.
    private const int Password = 1;
    private const int S4U = 2;
    private const int Interactive = 3;
    private const int Service = 5;

    /// <summary>The element's text; null where there must be none, for accounts of the system.</summary>
    /// <param name="account">Null: the current user.</param>
    /// <param name="hasPassword">True when a password is stored with the task.</param>
    /// <param name="atStart">True when it runs whether the user is logged on or not.</param>
    internal static string? Element(string? account, bool hasPassword, bool atStart) =>
        Type(account, hasPassword, atStart) switch
        {
            Service => null,
            Password => "Password",
            S4U => "S4U",
            _ => "InteractiveToken",
        };

    /// <summary>The number that the call takes.</summary>
    internal static int Type(string? account, bool hasPassword, bool atStart) =>
        account is not null && IsOfTheSystem(account) ? Service
        // The password of a group managed account is the domain's: it is asked for at each start, and none is stored.
        : account?.EndsWith('$') is true || hasPassword ? Password
        // Without a password the machine logs the user on for itself alone: no stored secret, and no network under the user's name.
        : atStart ? S4U
        : Interactive;

    // Built-in accounts, by name or SID, and the virtual account of a service.
    private static bool IsOfTheSystem(string account)
    {
        var name = account.ToUpperInvariant();
        name = name.StartsWith(@"NT AUTHORITY\", StringComparison.Ordinal) ? name[13..] : name;
        return name
                is "SYSTEM"
                    or "LOCALSYSTEM"
                    or "LOCAL SERVICE"
                    or "LOCALSERVICE"
                    or "NETWORK SERVICE"
                    or "NETWORKSERVICE"
                    or "S-1-5-18"
                    or "S-1-5-19"
                    or "S-1-5-20"
            || name.StartsWith(@"NT SERVICE\", StringComparison.Ordinal);
    }
}
