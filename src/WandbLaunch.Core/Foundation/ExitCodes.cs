using System.Globalization;

namespace WandbLaunch.Foundation;

/// <summary>
/// Exit codes as .NET and $LASTEXITCODE have them: 32 bits with a sign. Windows and the SDK write the same bits without
/// one (3221225477 for an access violation), and Docker has 64.
/// </summary>
internal static class ExitCodes
{
    /// <summary>A code of any width. Only 0 becomes 0: what does not fit is a failure all the same.</summary>
    internal static int Fold(long code) =>
        code is >= int.MinValue and <= int.MaxValue ? (int)code
        : code is > 0 and <= uint.MaxValue ? unchecked((int)(uint)code)
        : int.MaxValue;

    /// <summary>For people: a negative one with the form that Windows' documentation lists.</summary>
    internal static string Show(int code) =>
        code < 0
            ? $"{code.ToString(CultureInfo.InvariantCulture)} (0x{unchecked((uint)code):X8})"
            : code.ToString(CultureInfo.InvariantCulture);
}
