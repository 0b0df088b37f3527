using System.Security.Cryptography;

namespace WandbLaunch.Model;

/// <summary>Where a run lives.</summary>
internal readonly record struct RunPath(string Entity, string Project, string Id)
{
    /// <summary>A new run's id: eight random characters of a-z and 0-9 (protocol C.1, run_id).</summary>
    internal static string NewId() => RandomNumberGenerator.GetString("abcdefghijklmnopqrstuvwxyz0123456789", 8);

    public override string ToString() => $"{Entity}/{Project}/{Id}";
}
