using System.ComponentModel;

namespace WandbLaunch.ArchitectureTests.Samples.High
{
    internal class Thing
    {
        internal static readonly int Number = 1;

        internal static int Count() => Number;
    }

    internal sealed class Fault : Exception;
}

// Each needs something of High in one way of its own.
namespace WandbLaunch.ArchitectureTests.Samples.Low
{
    internal sealed class ByBase : High.Thing;

    internal sealed class ByField
    {
        internal High.Thing? Field { get; set; }
    }

    internal static class ByCall
    {
        internal static string Text() => $"{High.Thing.Count()}";
    }

    internal static class ByLambda
    {
        internal static Func<int, int> Add() => n => n + High.Thing.Number;
    }

    internal static class ByAwait
    {
        internal static async Task<int> CountAsync()
        {
            await Task.Yield();
            return High.Thing.Count();
        }
    }

    internal static class ByGenericArgument
    {
        internal static object Make() => new List<Dictionary<string, High.Thing>>();
    }

    internal static class ByMethodArgument
    {
        internal static int Size(object[] all) => all.OfType<High.Thing>().Count();
    }

    [TypeConverter(typeof(High.Thing))]
    internal static class ByAttribute;

    internal static class ByCatch
    {
        internal static void Do(Action action)
        {
            try
            {
                action();
            }
            catch (High.Fault)
            {
                action();
            }
        }
    }

    internal static class ByTypeOf
    {
        internal static string Name() => typeof(High.Thing).Name;
    }

    internal static class ByPattern
    {
        internal static bool Is(object value) => value is High.Thing;
    }

    internal static class ByConstraint
    {
        internal static void Do<T>()
            where T : High.Thing { }
    }

    internal static class ByArray
    {
        internal static object Make() => new High.Thing[2, 2];
    }
}
