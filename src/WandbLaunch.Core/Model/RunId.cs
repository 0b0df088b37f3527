using System.Security.Cryptography;

namespace WandbLaunch.Model;

/// <summary>Ids of runs, as W&amp;B's clients make them; the launch server compiles this file too.</summary>
internal static class RunId
{
    /// <summary>A new run's id: eight random characters of a-z and 0-9 (protocol C.1, run_id).</summary>
    internal static string New() => RandomNumberGenerator.GetString("abcdefghijklmnopqrstuvwxyz0123456789", 8);
}
